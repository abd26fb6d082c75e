"""The messages that go to OSC, or would, one a line, the newest at the bottom.  Shows what it is given."""

from __future__ import annotations

import collections
import tkinter
from tkinter import ttk

from wmkml.gui import look
from wmkml.gui.osc_preview import Message
from wmkml.gui.quiet_text import QuietText

KEPT = 300
"""So many messages stay; older ones leave at the top."""

ADDRESS_WIDTH = 158


class OscView:
    """A heading and a text that nobody can write into, in `frame`."""

    def __init__(self, parent: tkinter.Misc, dressed: look.Look) -> None:
        px = dressed.px
        self.frame = frame = ttk.Frame(parent)
        frame.columnconfigure(0, weight=1)
        frame.rowconfigure(1, weight=1)
        self._title = ttk.Label(frame, style="Soft.TLabel")
        self._title.grid(row=0, column=0, sticky="w", pady=(0, px(6)))
        self._quiet = QuietText(
            frame,
            wrap="none",
            height=1,
            font=dressed.mono,
            foreground=look.mixed(look.GROUND, look.TEXT, 0.8),
            spacing3=px(3),
            tabs=(px(ADDRESS_WIDTH),),
        )
        self._quiet.text.grid(row=1, column=0, sticky="nsew")
        self._quiet.text.tag_configure("address", foreground=look.mixed(look.GROUND, look.COLD, 0.8))
        self._messages: collections.deque[Message] = collections.deque(maxlen=KEPT)

    def title(self, text: str) -> None:
        """What the messages are."""
        self._title.configure(text=text)

    def add(self, messages: list[Message]) -> None:
        """More messages."""
        for message in messages:
            if len(self._messages) == KEPT:
                self._quiet.delete("1.0", "2.0")
            self._quiet.insert("end", "\n" if self._messages else "")
            self._quiet.insert("end", f"{message.address}\t", "address")
            self._quiet.insert("end", message.shown())
            self._messages.append(message)
        self._quiet.follow()

    def forget_words(self) -> None:
        """Keep only what holds no word of anybody."""
        kept = [one for one in self._messages if not any(isinstance(value, str) for value in one.values)]
        self._messages.clear()
        self._quiet.clear()
        self.add(kept)
