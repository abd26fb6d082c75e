"""The Tk window on a display of its own (Xvfb), and what a person sees and does there, for the tests of the window."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import shutil
import subprocess
import tkinter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tkinter import ttk

from PIL import Image, ImageGrab

from tests.waiting import until
from wmkml.gui.client import WindowOwnerClient


def program(name: str) -> str:
    """Where a program is that ./run_tests.sh installs."""
    path = shutil.which(name)
    assert path, f"{name} is missing; ./run_tests.sh installs it"
    return path


@contextmanager
def new_display(size: str = "1280x800", dots: int = 96) -> Iterator[str]:
    """Start an X server; yields its name, such as `:7`.

    Args:
        size: pixels, as `1280x800`.
        dots: dots per inch.
    """
    reading, writing = os.pipe()
    screen = [program("Xvfb"), "-displayfd", str(writing), "-screen", "0", f"{size}x24", "-dpi", str(dots)]
    server = subprocess.Popen([*screen, "-noreset", "-nolisten", "tcp"], pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


@functools.cache
def lasting_display(size: str = "1280x800", dots: int = 96) -> str:
    """A display like `new_display` that lasts until this process ends: Tk ends the process if its connection breaks."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(new_display(size, dots))


@contextmanager
def new_tk(display: str) -> Iterator[tkinter.Tk]:
    """A Tk interpreter, deleted in the thread that made it: Tk requires that, and garbage collection may run in another one."""
    # What was there before, all that other tests have loaded, is no garbage of Tk's; to look through it takes seconds each time.
    outermost = gc.get_freeze_count() == 0
    if outermost:
        gc.freeze()
    tk = tkinter.Tk(screenName=display)
    try:
        yield tk
    finally:
        tk.destroy()
        del tk
        gc.collect()
        if outermost:
            gc.unfreeze()


class WindowDriver:
    """A window in this process, and what is visible in it; `turn` runs its event loop once."""

    def __init__(self, tk: tkinter.Tk, client: WindowOwnerClient, turn: Callable[[], None] | None = None) -> None:
        self.tk, self.client, self._turn = tk, client, turn or tk.update

    def all(self, kind: str) -> list[tkinter.Misc]:
        """The widgets of this class that are laid out in the window."""

        def below(widget: tkinter.Misc) -> Iterator[tkinter.Misc]:
            yield widget
            for child in widget.winfo_children():
                if child.winfo_manager():
                    yield from below(child)

        return [widget for widget in below(self.tk) if widget.winfo_class() == kind]

    def labels(self) -> str:
        return "\n".join(str(label["text"]) for label in self.all("TLabel"))

    def chat(self) -> tkinter.Text:
        return self._text_with("prompt")

    def text(self) -> str:
        """The conversation, its lines without the space between exchanges."""
        return self.chat().get("1.0", "end-1c").strip("\n")

    def osc(self) -> list[str]:
        """The messages shown, as `address values`."""
        text = self._text_with("address").get("1.0", "end-1c")
        return [line.replace("\t", " ") for line in text.split("\n") if line]

    def shades(self) -> set[str]:
        """The shades in which tokens are drawn."""
        return {tag for tag in self.chat().tag_names() if tag.startswith("shade") and self.chat().tag_ranges(tag)}

    def line(self, tag: str) -> list[float]:
        """The coordinates of the line with this tag, as x, y, x, y, …; empty if there is none."""
        canvases = [canvas for canvas in self.all("Canvas") if isinstance(canvas, tkinter.Canvas)]
        return next((list(canvas.coords(tag)) for canvas in canvases if canvas.find_withtag(tag)), [])

    def entry(self) -> ttk.Entry:
        (entry,) = self.all("TEntry")
        assert isinstance(entry, ttk.Entry)
        return entry

    def may_type(self) -> bool:
        return any(str(entry["state"]) == "normal" for entry in self.all("TEntry"))

    def press(self, label: str) -> None:
        buttons = {str(button["text"]): button for button in self.all("TButton")}
        assert label in buttons, f"{label!r} is none of {list(buttons)}"
        button = buttons[label]
        assert isinstance(button, ttk.Button)
        button.invoke()

    def join(self) -> None:
        """Choose German in a run under way."""
        self.until(lambda: "Die Sprache hört zu" in self.labels(), "the run has begun")
        self.press("Auf Deutsch sprechen")
        self.until(self.may_type, "one may type")

    def say(self, words: str) -> None:
        """Type into the field and press the button."""
        self.entry().delete(0, "end")
        self.entry().insert(0, words)
        self.press("Senden")

    def picture(self, path: Path) -> Image.Image:
        """What is on the screen, kept as a file."""
        self.tk.update()
        image = ImageGrab.grab(xdisplay=self.tk.winfo_screen().rsplit(".", 1)[0])
        image.save(path)
        return image

    def close(self) -> None:
        """Remove the widgets, and cancel the calls that Tk still has to make."""
        self.client.close()
        for waiting in self.tk.splitlist(self.tk.call("after", "info")):
            # Not by after_cancel: it takes the command away from under the widget that waits.
            self.tk.tk.call("after", "cancel", waiting)
        for child in self.tk.winfo_children():
            child.destroy()
        gc.collect()

    def until(self, condition: Callable[[], object], what: str) -> None:
        def turned() -> object:
            self._turn()
            return condition()

        until(turned, what)

    def _text_with(self, tag: str) -> tkinter.Text:
        (text,) = (
            widget for widget in self.all("Text") if isinstance(widget, tkinter.Text) and tag in widget.tag_names()
        )
        return text
