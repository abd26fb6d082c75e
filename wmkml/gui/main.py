"""Wires the Tk fallback: the client's threads fill a queue, the window's main loop empties it.

The one place that knows both.  Says a sentence, and no more, where there is no Tk or no display.
"""

from __future__ import annotations

import functools
import importlib.util
import queue
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.addresses import owner_url
from wmkml.config import Settings
from wmkml.gui.client import OwnerClient
from wmkml.gui.news import News
from wmkml.keys import KeysUnreadable, load_keys
from wmkml.places import Places, places

if TYPE_CHECKING:
    import tkinter

POLL_MS = 40


def serve(settings: Settings, root: Path) -> int:
    """Show the window until it is closed or the process is told to end.  Returns the exit status: 1 without a display."""
    if importlib.util.find_spec("tkinter") is None or importlib.util.find_spec("_tkinter") is None:
        print("The window needs Tk, which this Python lacks; on Debian: apt-get install python3-tk.", file=sys.stderr)
        return 1
    # Only here and below: a Python without Tk must get as far as the sentence above.
    import tkinter

    from wmkml.gui.look import scale

    try:
        tk = tkinter.Tk(className="Watch-me-kill-my-language")
    except tkinter.TclError:
        print(
            "There is no display for the window; talk through the owner's page in a browser instead: "
            f"{owner_url(settings)}/",
            file=sys.stderr,
        )
        return 1
    scale(tk)
    # A signal is handled between two callbacks, and there is one every few milliseconds.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: tk.quit())
    tk.protocol("WM_DELETE_WINDOW", tk.quit)
    client = fill(tk, settings, root)
    tk.mainloop()
    client.close()
    return 0


def fill(tk: tkinter.Tk, settings: Settings, root: Path) -> OwnerClient:
    """Put everything into the empty window `tk` and begin to listen; returns what is to be closed at the end."""
    from wmkml.gui.window import Window

    news: queue.Queue[News] = queue.Queue()
    client = OwnerClient(owner_url(settings), functools.partial(stage_key, places(settings, root), set()), news)
    window = Window(tk, client, settings.inference.system_language)

    def drain() -> None:
        for _ in range(news.qsize()):  # and no more: what comes meanwhile waits until this is drawn
            window.show(news.get())
        window.tick()
        tk.after(POLL_MS, drain)

    client.start()
    drain()
    return client


def stage_key(where: Places, told: set[str]) -> str | None:
    """The key that shows every station's words; none where this user may not read it, which is told once (`told`)."""
    try:
        return load_keys(where).stage
    except (OSError, KeysUnreadable) as error:
        reason = f"The window shows its own words only: {error}"
        if reason not in told:
            told.add(reason)
            print(reason, file=sys.stderr)
        return None
