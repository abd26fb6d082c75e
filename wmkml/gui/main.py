"""Wires the Tk fallback: the client's threads fill a queue of events, Tk's main loop empties it into the window.

Without Tk or without a display the program prints one sentence and exits with 1.
"""

from __future__ import annotations

import functools
import importlib.util
import queue
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.access.keys import KeysUnreadableError, load_keys
from wmkml.access.tls import CertificateError, owner_verification
from wmkml.config import Settings
from wmkml.config.addresses import owner_url
from wmkml.config.paths import Paths, paths_of
from wmkml.gui.client import WindowOwnerClient
from wmkml.gui.events import WindowEvent

if TYPE_CHECKING:
    import tkinter

POLL_MS = 40
"""Interval between two looks at the queue, in milliseconds: 25 updates a second."""


def serve(settings: Settings, root: Path) -> int:
    """Show the window until it is closed or a signal ends it.  Returns the exit status: 1 without Tk or a display."""
    if importlib.util.find_spec("tkinter") is None or importlib.util.find_spec("_tkinter") is None:
        print("The window needs Tk, which this Python lacks; on Debian: apt-get install python3-tk.", file=sys.stderr)
        return 1
    # Imported here: a Python without Tk must get as far as the sentence above.
    import tkinter

    from wmkml.gui.theme import apply_desktop_scaling

    try:
        tk = tkinter.Tk(className="Watch-me-kill-my-language")
    except tkinter.TclError:
        print(
            "There is no display for the window; talk through the owner's page in a browser instead: "
            f"{owner_url(settings)}/",
            file=sys.stderr,
        )
        return 1
    apply_desktop_scaling(tk)
    # Python handles a signal between two Tk callbacks; the poll below is one every POLL_MS.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: tk.quit())
    tk.protocol("WM_DELETE_WINDOW", tk.quit)
    try:
        client = build_window(tk, settings, root)
    except CertificateError as error:
        print(error, file=sys.stderr)
        return 1
    tk.mainloop()
    client.close()
    return 0


def build_window(tk: tkinter.Tk, settings: Settings, root: Path) -> WindowOwnerClient:
    """Build the widgets in the empty window `tk` and start the client; the caller closes the returned client."""
    from wmkml.gui.window import Window

    events: queue.Queue[WindowEvent] = queue.Queue()
    paths = paths_of(settings, root)
    read_key = functools.partial(stage_key, paths, set())
    client = WindowOwnerClient(owner_url(settings), read_key, events, owner_verification(paths))
    window = Window(tk, client, settings.inference.system_language)

    def drain() -> None:
        for _ in range(events.qsize()):  # later events wait until these are drawn
            window.show(events.get())
        window.tick()
        tk.after(POLL_MS, drain)

    client.start()
    drain()
    return client


def stage_key(paths: Paths, printed: set[str]) -> str | None:
    """The key to every station's words; None where it cannot be read.  Each reason is printed once (`printed`)."""
    try:
        return load_keys(paths).stage
    except (OSError, KeysUnreadableError) as error:
        reason = f"The window shows its own words only: {error}"
        if reason not in printed:
            printed.add(reason)
            print(reason, file=sys.stderr)
        return None
