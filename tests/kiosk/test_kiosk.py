"""The kiosk on a real display (Xvfb) with real Chromium: two screens, and every way in which a browser fails."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import ImageGrab

from tests.gui.window_driver import new_display
from tests.owner.played_owner import PlayedOwner
from tests.owner.played_owner_fixtures import owner, owner_folder, shared_owner
from tests.waiting import until
from wmkml.__main__ import main
from wmkml.access.key_ring import KeyRing
from wmkml.access.keys import rotate_key
from wmkml.config.paths import PROJECT
from wmkml.kiosk import browser as kiosk_browser
from wmkml.kiosk import keeper as keeper_module
from wmkml.kiosk.browser import BLACK, KioskBrowser, find_browser
from wmkml.kiosk.devtools import BrowserSilentError
from wmkml.kiosk.keeper import Keeper, KioskWindow, owner_phase
from wmkml.kiosk.screens import Screen, ScreensUnknownError, connected_screens, screen_of

__all__ = ["owner", "owner_folder", "shared_owner"]

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """With a page on privacy, to which the visitor's page links."""
    return {"privacy.controller": "Kunsthaus Beispiel"}


LEFT, RIGHT = Screen(0, 0, 640, 480), Screen(640, 0, 640, 480)


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A display with two screens side by side, the left one the primary."""
    with new_display("1280x480") as name:
        for monitor in (["*left", "640/170x480/127+0+0", "screen"], ["right", "640/170x480/127+640+0", "none"]):
            subprocess.run(["xrandr", "--display", name, "--setmonitor", *monitor], check=True)
        os.environ["DISPLAY"] = name
        yield name


def colours(display: str, screen: Screen) -> int:
    """The number of different colours on a screen."""
    box = (screen.x, screen.y, screen.x + screen.width, screen.y + screen.height)
    picture = ImageGrab.grab(bbox=box, xdisplay=display)
    counted = picture.getcolors(640 * 480)
    assert counted is not None
    return len(counted) if counted != [(640 * 480, (0, 0, 0))] else 0


class KeptWindow:
    """A keeper with one window, in a thread of this process."""

    def __init__(
        self, address: str | Callable[[], str], phase: str | None = "waiting", restart_seconds: float = 0.0
    ) -> None:
        self.window = KioskWindow("visitor", address if callable(address) else lambda: str(address), LEFT)
        self.phase = phase
        self.lines: list[str] = []
        self.stop = threading.Event()
        self.keeper = Keeper(find_browser(), [self.window], lambda: self.phase, restart_seconds, self.lines.append)
        self.thread = threading.Thread(target=self.keeper.keep, args=(self.stop,))

    def evaluate(self, expression: str) -> Any:
        """A value in the page; None while no browser answers."""
        try:
            return self.window.browser.evaluate(expression) if self.window.browser else None
        except BrowserSilentError:
            return None

    def until_shown(self, what: str) -> KioskBrowser:
        """Wait until the visitor's page is there, and return its browser."""
        until(lambda: self.evaluate("document.querySelector('#threshold') !== null"), what)
        assert self.window.browser is not None
        return self.window.browser


@contextmanager
def kept(address: str | Callable[[], str], **more: Any) -> Iterator[KeptWindow]:
    kiosk = KeptWindow(address, **more)
    kiosk.thread.start()
    try:
        yield kiosk
    finally:
        kiosk.stop.set()
        kiosk.thread.join()


def test_the_screens_are_listed_the_primary_first(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert connected_screens() == [LEFT, RIGHT]
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(ScreensUnknownError, match="Is DISPLAY set"):
        connected_screens()


@pytest.mark.parametrize("text", ["1920x1080", "0x480+0+0", "640x480+-1+0", "left"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ScreensUnknownError, match="WIDTHxHEIGHT"):
        screen_of(text)
    assert screen_of("640x480+640+0") == RIGHT


def test_what_fails_is_replaced(display: str, owner: PlayedOwner) -> None:
    with kept(owner.address + "/") as kiosk:
        browser = kiosk.until_shown("the page")
        profile = Path(browser._profile.name)
        os.kill(browser.pid, signal.SIGKILL)
        until(lambda: kiosk.window.browser not in (browser, None), "another browser")
        assert "Chromium ended with status -9" in kiosk.lines[-1]
        assert not profile.exists(), "nothing of the visit is left"
        browser = kiosk.until_shown("the page again")
        crash_pages(browser)
        until(lambda: kiosk.window.browser not in (browser, None), "another browser after the page's crash")
        assert "its page crashed" in kiosk.lines[-1]
        kiosk.until_shown("the page at last")
        assert kiosk.window.replaced == 2


def crash_pages(browser: KioskBrowser) -> None:
    """Kill the page's process, and the one that waits for the next page."""
    for child in psutil.Process(browser.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # some end meanwhile
            if "--type=renderer" in child.cmdline():
                child.kill()


def test_a_page_that_crashes_while_it_is_asked_is_known_to_have_crashed(display: str, owner: PlayedOwner) -> None:
    browser = KioskBrowser(find_browser(), LEFT)
    try:
        browser.show(owner.address + "/")
        until(lambda: browser.evaluate("document.readyState") == "complete", "the page")
        with ThreadPoolExecutor(1) as asking:
            answer = asking.submit(browser.evaluate, "for (;;);")
            until(lambda: browser._tools._waiting, "the page to be asked")
            crash_pages(browser)
            with pytest.raises(BrowserSilentError, match="its page crashed"):
                answer.result()
        assert browser.problem() == "its page crashed"
    finally:
        browser.end()


def test_a_page_that_hangs_is_told(display: str, owner: PlayedOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = KioskBrowser(find_browser(), LEFT)
    try:
        browser.show(owner.address + "/")
        until(lambda: browser.evaluate("document.readyState") == "complete", "the page")
        assert browser.problem() == ""
        monkeypatch.setattr(kiosk_browser, "ANSWER_SECONDS", 1.0)
        browser._tools.call("Runtime.evaluate", 5, browser._session, expression="setTimeout(() => { for (;;); })")
        until(lambda: "not answered" in browser.problem(), "the hanging page to be noticed")
    finally:
        browser.end()


def test_an_error_is_never_shown_and_a_page_never_leaves(display: str, owner: PlayedOwner) -> None:
    with kept(owner.address + "/", phase=None) as kiosk:
        until(lambda: kiosk.evaluate("document.URL") == BLACK, "a black page")
        until(lambda: colours(display, LEFT) == 0, "a black screen")
        kiosk.phase = "waiting"
        browser = kiosk.until_shown("the page")
        assert until(lambda: colours(display, LEFT), "a picture")
        kiosk.evaluate("void window.open('about:blank')")
        pages = "Target.getTargets"
        until(
            lambda: sum(target["type"] == "page" for target in browser._tools.call(pages, 10)["targetInfos"]) == 1,
            "the page that was opened to be closed",
        )
        owner.kill()
        kiosk.phase = None
        kiosk.evaluate("void location.reload()")
        until(lambda: kiosk.evaluate("document.URL") == BLACK, "black instead of the browser's error page")
        owner.start()
        kiosk.phase = "waiting"
        kiosk.until_shown("the page, when the installation is back")
        kiosk.evaluate("void (location.href = 'data:text/plain,elsewhere')")
        kiosk.evaluate("void (location.href = 'http://127.0.0.1:9/')")
        kiosk.until_shown("the page, not another site")
        assert kiosk.evaluate("dispatchEvent(new MouseEvent('contextmenu', { cancelable: true }))") is False
        assert kiosk.window.replaced == 0


def test_another_page_that_nobody_touches_is_left(
    display: str, owner: PlayedOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept(owner.address + "/") as kiosk:
        kiosk.until_shown("the page")
        kiosk.evaluate("void (location.href = '/privacy')")
        until(lambda: kiosk.evaluate("document.URL") == f"{owner.address}/privacy", "the page on privacy")
        until(lambda: (kiosk.evaluate("performance.now() - window.kioskTouched") or 0) > 2500, "some seconds on it")
        kiosk.evaluate("void dispatchEvent(new PointerEvent('pointermove'))")
        monkeypatch.setattr(keeper_module, "ELSEWHERE_SECONDS", 2.0)
        assert kiosk.evaluate("document.URL") == f"{owner.address}/privacy", "which somebody has just touched"
        kiosk.until_shown("the window's own page again")
        assert kiosk.window.replaced == 0


def test_an_old_browser_is_replaced_where_no_run_lives(display: str, owner: PlayedOwner) -> None:
    with kept(owner.address + "/", phase="running", restart_seconds=0.01) as kiosk:
        browser = kiosk.until_shown("the page")
        kiosk.phase = "waiting"
        until(lambda: kiosk.window.browser not in (browser, None), "a fresh browser")
        assert "started anew" in kiosk.lines[-1] and kiosk.window.replaced == 0


def keyboard() -> str:
    return subprocess.run(["xmodmap", "-pke"], capture_output=True, text=True, check=True).stdout


def test_the_whole_kiosk_on_two_screens(display: str, owner: PlayedOwner) -> None:
    before = keyboard()
    assert "Control_L" in before and " F5 " in before
    words = [str(PROJECT / "kiosk.sh"), "--owner", owner.address, "--stage-key", owner.cluster.keys.stage]
    kiosk = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert kiosk.stdout is not None
        # Of the sound it tells whenever it knows.
        places = (line.split(".")[0] for line in kiosk.stdout if not line.startswith("Whether the stage can be heard"))
        assert [next(places) for _ in range(2)] == [f"visitor at {LEFT}", f"stage at {RIGHT}"]
        until(lambda: colours(display, LEFT) and colours(display, RIGHT), "both pages")
        assert not any(name in keyboard() for name in ("Control_", "Alt_L", "Super_", " F5 ", " F11 "))
        assert "ISO_Level3_Shift" in keyboard() or "ISO_Level3_Shift" not in before
        asked = subprocess.run(["xset", "q"], capture_output=True, text=True, check=True).stdout
        assert "timeout:  0" in asked
        children = psutil.Process(kiosk.pid).children(recursive=True)
    finally:
        kiosk.terminate()
        assert kiosk.wait(60) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert keyboard() == before


def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kiosk", "--owner", "192.168.0.7:8000"]) == 2
    assert main(["kiosk", "--owner", "http://192.168.0.7:8000"]) == 2
    assert main(["kiosk", "--restart-after", "-1"]) == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["kiosk", "--set", f"general.data_folder={tmp_path}"]) == 1
    assert main(["kiosk", "--set", f"general.data_folder={tmp_path}"]) == 1
    errors = capsys.readouterr().err
    for sentence in ("write it with http://", "--stage-key", "hours from 0", "apt-get install chromium"):
        assert sentence in errors


def test_it_starts_with_the_graphical_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["wmkml", "kiosk", "--install", "--stage-at", "640x480+0+0"])
    assert main(["kiosk", "--install", "--set", f"general.data_folder={tmp_path}"]) == 0
    entry = (tmp_path / ".config/autostart/wmkml-kiosk.desktop").read_text()
    assert f'Exec="{PROJECT / "kiosk.sh"}" "--stage-at" "640x480+0+0"\n' in entry


def test_the_owners_phase_is_asked(owner: PlayedOwner) -> None:
    assert owner_phase(owner.address) == "waiting"
    assert owner_phase("http://127.0.0.1:9") is None


def test_something_else_at_the_owners_address_is_no_phase() -> None:
    class ListServer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[1, 2]")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), ListServer) as server:
        threading.Thread(target=server.handle_request).start()
        assert owner_phase(f"http://127.0.0.1:{server.server_port}") is None


def test_a_browser_for_whose_profile_there_is_no_room_is_started_later(
    display: str, owner: PlayedOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True, True]
    make_folder = tempfile.TemporaryDirectory

    def folder_with_room(**options: Any) -> Any:
        if full:
            full.pop()
            raise OSError(28, "No space left on device", "/dev/shm")
        return make_folder(**options)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", folder_with_room)
    with kept(owner.address + "/") as kiosk:
        kiosk.until_shown("the page, once there is room")
        assert kiosk.window.replaced == 2 and "No space left" in kiosk.lines[0]


def test_the_stage_is_opened_anew_when_its_key_is_rotated(display: str, owner: PlayedOwner) -> None:
    keys = KeyRing(owner.cluster.paths)
    with kept(lambda: f"{owner.address}/stage?key={keys.stage}") as kiosk:
        is_open = (
            "fetch('stage/runtime').then((reply) => reply.json()).then((now) => { window.stageOpen = now.opened })"
        )
        asked = "window.stageOpen === true && location.search === ''"
        until(lambda: kiosk.evaluate(is_open) is not None and kiosk.evaluate(asked), "the stage to be open")
        rotate_key(owner.cluster.paths, "stage")
        kiosk.evaluate("window.stageOpen = false")
        until(lambda: kiosk.evaluate(is_open) is not None and kiosk.evaluate(asked), "the stage with its new key")
        assert kiosk.window.replaced == 0
