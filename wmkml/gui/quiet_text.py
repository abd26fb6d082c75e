"""A text to read: nobody writes, selects or drags in it, it has no scrollbar, and its newest line stays in sight.

Whoever looks at what stood there before is left alone until they come back to the end.
"""

from __future__ import annotations

import tkinter
from typing import Any

from wmkml.gui import look
from wmkml.gui.drawable import drawable, draws_colours


class QuietText:
    """The widget `text`, and what may be done to it.  Everything is inserted as plain text."""

    def __init__(self, parent: tkinter.Misc, **looks: Any) -> None:
        self.text = text = tkinter.Text(
            parent,
            state="disabled",
            background=look.GROUND,
            highlightthickness=0,
            borderwidth=0,
            cursor="arrow",
            takefocus=False,
            width=10,
            **looks,
        )
        self._colours = draws_colours(text)
        self._following = True
        for event in (
            "<Button-1>",
            "<B1-Motion>",
            "<Double-Button-1>",
            "<Triple-Button-1>",
            "<Button-2>",
            "<B2-Motion>",
        ):
            text.bind(event, lambda _: "break")
        for event in ("<MouseWheel>", "<Button-4>", "<Button-5>"):
            text.bind(event, lambda _: text.after_idle(self._scrolled))
        text.bind("<Configure>", lambda _: self.follow())

    def insert(self, where: str, words: str, *tags: str) -> None:
        """Write there, in these tags."""
        self.text.configure(state="normal")
        self.text.insert(where, drawable(words, self._colours), tags)
        self.text.configure(state="disabled")

    def delete(self, start: str, end: str) -> None:
        """Take away what stands between the two."""
        self.text.configure(state="normal")
        self.text.delete(start, end)
        self.text.configure(state="disabled")

    def clear(self) -> None:
        """Take everything away."""
        self.delete("1.0", "end")
        self._following = True

    def follow(self, again: bool = False) -> None:
        """Have the newest line in sight; `again`, even if somebody looked elsewhere."""
        self._following = self._following or again
        if self._following:
            self.text.yview_moveto(1.0)

    def scroll(self, pages: int) -> None:
        """Look at what stood before (−1) or after (1)."""
        self.text.yview_scroll(pages, "pages")
        self._scrolled()

    def _scrolled(self) -> None:
        self._following = self.text.yview()[1] > 0.999
