"""The list of OSC messages, one a line, the newest at the bottom."""

from __future__ import annotations

import collections
import tkinter
from tkinter import ttk

from wmkml.gui import theme
from wmkml.gui.panels.osc_preview import OscMessage
from wmkml.gui.readonly_text import ReadonlyText

MAX_MESSAGES = 300
"""Messages shown; the oldest are removed beyond that."""

ADDRESS_WIDTH = 158
"""Width of the address column, in pixels at 100 %."""


class OscView:
    """A heading and the list, in `frame`."""

    def __init__(self, parent: tkinter.Misc, look: theme.Theme) -> None:
        px = look.px
        self.frame = frame = ttk.Frame(parent)
        frame.columnconfigure(0, weight=1)
        frame.rowconfigure(1, weight=1)
        self._title = ttk.Label(frame, style="Soft.TLabel")
        self._title.grid(row=0, column=0, sticky="w", pady=(0, px(6)))
        self._readonly = ReadonlyText(
            frame,
            wrap="none",
            height=1,
            font=look.mono,
            foreground=theme.blend(theme.GROUND, theme.TEXT, 0.8),
            spacing3=px(3),
            tabs=(px(ADDRESS_WIDTH),),
        )
        self._readonly.text.grid(row=1, column=0, sticky="nsew")
        self._readonly.text.tag_configure("address", foreground=theme.blend(theme.GROUND, theme.COLD, 0.8))
        self._messages: collections.deque[OscMessage] = collections.deque(maxlen=MAX_MESSAGES)

    def show_title(self, text: str) -> None:
        """Set the heading."""
        self._title.configure(text=text)

    def add(self, messages: list[OscMessage]) -> None:
        """Append messages."""
        for message in messages:
            if len(self._messages) == MAX_MESSAGES:
                self._readonly.delete("1.0", "2.0")
            self._readonly.insert("end", "\n" if self._messages else "")
            self._readonly.insert("end", f"{message.address}\t", "address")
            self._readonly.insert("end", message.values_text())
            self._messages.append(message)
        self._readonly.follow()

    def forget_words(self) -> None:
        """Remove every message with a string value: those may hold visitors' words."""
        kept = [message for message in self._messages if not any(isinstance(value, str) for value in message.values)]
        self._messages.clear()
        self._readonly.clear()
        self.add(kept)
