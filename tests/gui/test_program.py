"""`gui.py` as a program: by keyboard alone, on screens of two resolutions, and without a display or without Tk."""

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

from tests.gui.window_driver import WindowDriver, lasting_display, new_display, new_tk, program
from tests.owner.owner_cluster import ROOT
from tests.owner.played_owner import PlayedOwner
from tests.waiting import until
from wmkml.gui.main import build_window
from wmkml.gui.theme import DEFAULT_SCALING

pytestmark = pytest.mark.process


def test_it_is_imported_where_python_lacks_what_windows_lacks() -> None:
    lacks = "import sys; sys.modules |= dict.fromkeys(('fcntl', 'resource', 'pwd', 'termios')); import wmkml.gui.main"
    done = subprocess.run([sys.executable, "-c", lacks], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_is_used_by_keyboard_and_ends_when_told(owner: PlayedOwner, tmp_path: Path) -> None:
    with new_display() as display:
        environment = {**os.environ, "DISPLAY": display}
        command = [sys.executable, "gui.py", "--config", str(owner.cluster.config)]
        window = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

        def xdo(*words: str) -> str:
            return subprocess.run(
                [program("xdotool"), *words], env=environment, check=False, capture_output=True, text=True, timeout=30
            ).stdout.strip()

        try:
            until(lambda: xdo("search", "--onlyvisible", "--name", "Watch me kill"), "the window opens")
            number = xdo("search", "--onlyvisible", "--name", "Watch me kill").splitlines()[0]
            xdo("windowfocus", number)

            def has_begun() -> bool:
                # The keyboard is at the first language's button, as soon as the state is known.
                xdo("key", "Return")
                time.sleep(0.3)
                return bool(owner.get("/state")["phase"] != "waiting")

            until(has_begun, "a language is chosen with the Return key")
            assert owner.get("/state")["language"] == "de"

            def is_stored() -> bool:
                xdo("type", "--delay", "20", "Hallo")
                xdo("key", "Return")
                time.sleep(0.5)
                return owner.cluster.counts()["visitor"] > 0

            until(is_stored, "something is said with the keyboard")
            until(lambda: {"typing", "stopped"} <= set(owner.typing_reports()), "typing is reported")
            picture = ImageGrab.grab(xdisplay=display)
            picture.save(tmp_path / "keyboard.png")
            colors = picture.convert("RGB").getcolors(maxcolors=2**24)
            assert colors is not None and len(colors) > 50, "the window shows something"
            before = owner.cluster.counts()["visitor"]
            xdo("key", "Escape")
            xdo("key", "Tab", "Return")  # the second language's button; the first had the keyboard at once

            def is_stored_again() -> bool:
                xdo("type", "--delay", "20", "Hello")
                xdo("key", "Return")
                time.sleep(0.5)
                return owner.cluster.counts()["visitor"] > before

            until(is_stored_again, "the next visitor talks")
            window.send_signal(signal.SIGTERM)
            assert window.wait(timeout=20) == 0
        finally:
            window.kill()
        assert window.stderr is not None
        assert "Traceback" not in window.stderr.read()


@contextmanager
def _window(owner: PlayedOwner, size: str, dots: int) -> Iterator[WindowDriver]:
    """The window in this process, on a screen of this size in pixels and dots per inch."""
    with (
        new_tk(lasting_display(size, dots)) as tk,
        closing(WindowDriver(tk, build_window(tk, owner.cluster.settings, owner.cluster.folder))) as driver,
    ):
        yield driver


def test_it_looks_the_same_on_a_screen_twice_as_fine(owner: PlayedOwner, tmp_path: Path) -> None:
    places = []
    for size, dots in (("1280x800", 96), ("2560x1600", 192)):
        owner.reset()
        with _window(owner, size, dots) as driver:
            owner.begin("de")
            driver.join()
            driver.say("Was ist ein Haus?")
            driver.until(lambda: "Iteration −1" in driver.text(), "it is answered")
            picture = driver.picture(tmp_path / f"{dots}.png")
            assert picture.size == tuple(int(side) for side in size.split("x"))
            places.append(_places(driver))
            _nothing_is_cut_off(driver)
    coarse, fine = places
    assert coarse.keys() == fine.keys()
    for name, place in coarse.items():
        for once, twice in zip(place, fine[name], strict=True):
            assert abs(twice - 2 * once) <= 12 + 0.06 * twice, f"{name}: {place} and {fine[name]}"


KINDS = ("TLabel", "TButton", "TEntry", "Text", "Canvas")


def _places(driver: WindowDriver) -> dict[str, tuple[int, int, int, int]]:
    """Position and size of each widget, in pixels: x, y, width, height."""
    driver.tk.update()
    return {
        str(widget): (widget.winfo_rootx(), widget.winfo_rooty(), widget.winfo_width(), widget.winfo_height())
        for kind in KINDS
        for widget in driver.all(kind)
    }


def _nothing_is_cut_off(driver: WindowDriver) -> None:
    width, height = driver.tk.winfo_width(), driver.tk.winfo_height()
    for kind in KINDS:
        for widget in driver.all(kind):
            right, bottom = widget.winfo_rootx() + widget.winfo_width(), widget.winfo_rooty() + widget.winfo_height()
            assert right <= width and bottom <= height, f"{widget} ends at {right}, {bottom}"
            if kind in ("TLabel", "TButton"):
                assert widget.winfo_reqwidth() <= widget.winfo_width() + 1, f"{widget} is too narrow for its words"
                assert widget.winfo_reqheight() <= widget.winfo_height() + 1, f"{widget} is too low for its words"


def test_a_small_window_is_all_conversation(owner: PlayedOwner, tmp_path: Path) -> None:
    with _window(owner, "800x600", 96) as driver:
        driver.until(lambda: driver.all("TButton"), "the languages are there")
        assert "Entropie" not in driver.labels() and not driver.line("loss")
        owner.begin("de")
        driver.until(
            lambda: "Auf Deutsch sprechen" in {str(button["text"]) for button in driver.all("TButton")}, "it has begun"
        )
        driver.press("Auf Deutsch sprechen")
        driver.until(driver.may_type, "one may type")
        driver.picture(tmp_path / "small.png")
        _nothing_is_cut_off(driver)


@contextmanager
def _resources(display: str, resources: str) -> Iterator[None]:
    """Set X resources as a desktop does; they last while this process is connected."""
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
        "import sys, tkinter; from wmkml.gui.theme import apply_desktop_scaling, desktop_dpi; "
        "tk = tkinter.Tk(screenName=sys.argv[1]); "
        "print(tk.tk.call('tk', 'scaling'), desktop_dpi(tk)); apply_desktop_scaling(tk); print(tk.tk.call('tk', 'scaling'))"
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
    plain, dpi, scaled = done.stdout.split()
    assert dpi == str(dots)
    assert float(scaled) == pytest.approx(2 * DEFAULT_SCALING if dots else float(plain), rel=0.01)


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
