"""`gui.py` as a program: used by keyboard alone, on coarse and fine screens, and where there is no display or no Tk."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from PIL import ImageGrab

from tests.owner_house import ROOT, until
from tests.played_owner import PlayedOwner, played_owner
from tests.seen_window import Seen, lasting_display, new_display, new_tk, program
from wmkml.gui.look import PLAIN_SCALING
from wmkml.gui.main import fill


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedOwner]:
    with played_owner(tmp_path_factory.mktemp("house")) as one:
        yield one


@pytest.fixture
def owner(house: PlayedOwner) -> PlayedOwner:
    """The owner, waiting for a language."""
    house.fresh()
    return house


def test_it_is_used_by_keyboard_and_ends_when_told(owner: PlayedOwner, tmp_path: Path) -> None:
    with new_display() as display:
        environment = {**os.environ, "DISPLAY": display}
        command = [sys.executable, "gui.py", "--config", str(owner.house.config)]
        window = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

        def xdo(*words: str) -> str:
            return subprocess.run(
                [program("xdotool"), *words], env=environment, check=False, capture_output=True, text=True, timeout=30
            ).stdout.strip()

        try:
            until(lambda: xdo("search", "--onlyvisible", "--name", "Watch me kill"), "the window opens")
            number = xdo("search", "--onlyvisible", "--name", "Watch me kill").splitlines()[0]
            xdo("windowfocus", number)

            def begun() -> bool:
                # The keyboard is at the first language's button, as soon as the state is known.
                xdo("key", "Return")
                time.sleep(0.3)
                return bool(owner.get("/state")["phase"] != "waiting")

            until(begun, "a language is chosen with the Return key")
            assert owner.get("/state")["language"] == "de"

            def said() -> bool:
                xdo("type", "--delay", "20", "Hallo")
                xdo("key", "Return")
                time.sleep(0.5)
                return owner.house.counts()["visitor"] > 0

            until(said, "something is said with the keyboard")
            until(lambda: {"typing", "stopped"} <= set(owner.typed()), "typing is reported")
            picture = ImageGrab.grab(xdisplay=display)
            picture.save(tmp_path / "keyboard.png")
            colors = picture.convert("RGB").getcolors(maxcolors=2**24)
            assert colors is not None and len(colors) > 50, "the window shows something"
            before = owner.house.counts()["visitor"]
            xdo("key", "Escape")
            xdo("key", "Tab", "Return")  # the second language's button; the first had the keyboard at once

            def said_again() -> bool:
                xdo("type", "--delay", "20", "Hello")
                xdo("key", "Return")
                time.sleep(0.5)
                return owner.house.counts()["visitor"] > before

            until(said_again, "the next visitor talks")
            window.send_signal(signal.SIGTERM)
            assert window.wait(timeout=20) == 0
        finally:
            window.kill()
        assert window.stderr is not None
        assert "Traceback" not in window.stderr.read()


@contextmanager
def _window(owner: PlayedOwner, size: str, dots: int) -> Iterator[Seen]:
    """The window in this process, on such a screen."""
    with (
        new_tk(lasting_display(size, dots)) as tk,
        closing(Seen(tk, fill(tk, owner.house.settings, owner.house.folder))) as seen,
    ):
        yield seen


def test_it_looks_the_same_on_a_screen_twice_as_fine(owner: PlayedOwner, tmp_path: Path) -> None:
    found = []
    for size, dots in (("1280x800", 96), ("2560x1600", 192)):
        owner.fresh()
        with _window(owner, size, dots) as seen:
            owner.begin("de")
            seen.join()
            seen.say("Was ist ein Haus?")
            seen.until(lambda: "Iteration −1" in seen.text(), "it is answered")
            picture = seen.picture(tmp_path / f"{dots}.png")
            assert picture.size == tuple(int(side) for side in size.split("x"))
            found.append(_places(seen))
            _nothing_is_cut_off(seen)
    coarse, fine = found
    assert coarse.keys() == fine.keys()
    for name, place in coarse.items():
        for once, twice in zip(place, fine[name], strict=True):
            assert abs(twice - 2 * once) <= 12 + 0.06 * twice, f"{name}: {place} and {fine[name]}"


KINDS = ("TLabel", "TButton", "TEntry", "Text", "Canvas")


def _places(seen: Seen) -> dict[str, tuple[int, int, int, int]]:
    """Where each widget is, and how large, in pixels."""
    seen.tk.update()
    return {
        str(one): (one.winfo_rootx(), one.winfo_rooty(), one.winfo_width(), one.winfo_height())
        for kind in KINDS
        for one in seen.all(kind)
    }


def _nothing_is_cut_off(seen: Seen) -> None:
    width, height = seen.tk.winfo_width(), seen.tk.winfo_height()
    for kind in KINDS:
        for one in seen.all(kind):
            right, bottom = one.winfo_rootx() + one.winfo_width(), one.winfo_rooty() + one.winfo_height()
            assert right <= width and bottom <= height, f"{one} ends at {right}, {bottom}"
            if kind in ("TLabel", "TButton"):
                assert one.winfo_reqwidth() <= one.winfo_width() + 1, f"{one} is too narrow for its words"
                assert one.winfo_reqheight() <= one.winfo_height() + 1, f"{one} is too low for its words"


def test_a_small_window_is_all_conversation(owner: PlayedOwner, tmp_path: Path) -> None:
    with _window(owner, "800x600", 96) as seen:
        seen.until(lambda: seen.all("TButton"), "the languages are there")
        assert "Entropie" not in seen.labels() and not seen.line("loss")
        owner.begin("de")
        seen.until(lambda: "Auf Deutsch sprechen" in {str(one["text"]) for one in seen.all("TButton")}, "it has begun")
        seen.press("Auf Deutsch sprechen")
        seen.until(seen.may_type, "one may type")
        seen.picture(tmp_path / "small.png")
        _nothing_is_cut_off(seen)


@contextmanager
def _resources(display: str, resources: str) -> Iterator[None]:
    """X resources as a desktop leaves them, for as long as a program of ours is connected."""
    xlib = ctypes.CDLL("libX11.so.6")
    for name in ("XOpenDisplay", "XDefaultRootWindow", "XInternAtom"):
        getattr(xlib, name).restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xlib.XOpenDisplay(display.encode()))
    root = ctypes.c_void_p(xlib.XDefaultRootWindow(connection))
    atom = ctypes.c_void_p(xlib.XInternAtom(connection, b"RESOURCE_MANAGER", 0))
    words, string, replace = resources.encode(), ctypes.c_void_p(31), 0
    xlib.XChangeProperty(connection, root, atom, string, 8, replace, words, len(words))
    xlib.XSync(connection, 0)
    try:
        yield
    finally:
        xlib.XCloseDisplay(connection)


@pytest.mark.parametrize(
    ("resources", "dots"), [("Xft.dpi:\t192\n", 192.0), ("Xft.dpi:\tmany\n", None), ("Xft.dpi:\t1\n", None), ("", None)]
)
def test_it_is_as_large_as_the_desktop_wants(resources: str, dots: float | None) -> None:
    program_text = (
        "import sys, tkinter; from wmkml.gui.look import desktop_dots, scale; tk = tkinter.Tk(screenName=sys.argv[1]); "
        "print(tk.tk.call('tk', 'scaling'), desktop_dots(tk)); scale(tk); print(tk.tk.call('tk', 'scaling'))"
    )
    with new_display() as display, _resources(display, resources):
        done = subprocess.run(
            [sys.executable, "-c", program_text, display],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
    plain, found, scaled = done.stdout.split()
    assert found == str(dots)
    assert float(scaled) == pytest.approx(2 * PLAIN_SCALING if dots else float(plain), rel=0.01)


@pytest.mark.parametrize("display_name", [None, ":4711"])
def test_without_a_display_it_says_so(display_name: str | None, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    if display_name:
        environment["DISPLAY"] = display_name
    path = tmp_path / "config.yaml"
    path.write_text("general:\n  model_name: understudy\n")
    command = [sys.executable, "gui.py", "--config", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "There is no display for the window" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_tk_it_names_the_package() -> None:
    # A Python without Tk has no _tkinter; None in sys.modules is how an import learns that.
    program_text = (
        "import sys; sys.modules['_tkinter'] = None\n"
        "from pathlib import Path; from wmkml.config import Settings; from wmkml.gui.main import serve\n"
        "sys.exit(serve(Settings(), Path('.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program_text], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == "The window needs Tk, which this Python lacks; on Debian: apt-get install python3-tk.\n"
