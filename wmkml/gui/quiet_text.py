"""A text to read: nobody writes, selects or drags in it, it has no scrollbar, and its newest line stays in sight.

Whoever looks at what stood there before is left alone until they come back to the end.
"""

from __future__ import annotations

import tkinter
from typing import Any, Literal

from wmkml.gui import look
from wmkml.gui.drawable import drawable, draws_colours

SCROLLED_LINES = 3
"""At each click of the wheel."""

LAST_LINE = "end-1c linestart"


class QuietText:
    """The widget `text`, and what may be done to it.  Everything is inserted as plain text."""

    def __init__(self, parent: tkinter.Misc, **looks: Any) -> None:
        self.text = text = tkinter.Text(
            parent,
            background=look.GROUND,
            highlightthickness=0,
            borderwidth=0,
            cursor="arrow",
            takefocus=False,
            width=10,
            **looks,
        )
        # Without the bindings of all texts nobody can write here.  Being `disabled` would do it as well, but to be able
        # to write for each token, and then no more, has Tk lay out everything anew each time.
        text.bindtags((str(text), str(text.winfo_toplevel()), "all"))
        self._colours = draws_colours(text)
        self._following, self._scheduled = True, False
        text.bind("<MouseWheel>", lambda event: self.scroll(-1 if event.delta > 0 else 1, "units"))
        text.bind("<Button-4>", lambda _: self.scroll(-1, "units"))
        text.bind("<Button-5>", lambda _: self.scroll(1, "units"))
        text.bind("<Configure>", lambda _: self.follow())

    def insert(self, where: str, words: str, *tags: str) -> None:
        """Write there, in these tags."""
        self.text.insert(where, drawable(words, self._colours), tags)

    def delete(self, start: str, end: str) -> None:
        """Take away what stands between the two."""
        self.text.delete(start, end)

    def clear(self) -> None:
        """Take everything away."""
        self.delete("1.0", "end")
        self._following = True

    def follow(self, again: bool = False) -> None:
        """Have the newest line in sight; `again`, even if somebody looked elsewhere."""
        self._following = self._following or again
        if self._following and not self._scheduled:
            self._scheduled = True
            self.text.after_idle(self._show_end)

    def scroll(self, number: int, what: Literal["units", "pages"] = "pages") -> None:
        """Look at what stood before (−1) or after (1)."""
        self.text.yview_scroll(SCROLLED_LINES * number if what == "units" else number, what)
        self._following = self.text.dlineinfo(LAST_LINE) is not None

    def _show_end(self) -> None:
        self._scheduled = False
        if self._following:
            self.text.see(LAST_LINE)
