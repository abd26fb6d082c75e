"""A Tk text that nobody can write, select or drag in, without a scrollbar, which follows its newest line.

Someone who has scrolled back is not disturbed by new lines until they return to the end.
"""

from __future__ import annotations

import tkinter
from typing import Any, Literal

from wmkml.gui import theme
from wmkml.gui.text_sanitizing import displayable, draws_colour_emoji

LINES_PER_CLICK = 3
"""Lines scrolled at each click of the mouse wheel."""

LAST_LINE = "end-1c linestart"


class ReadonlyText:
    """Wraps the widget `text`.  Everything is inserted as plain text, made displayable first."""

    def __init__(self, parent: tkinter.Misc, **options: Any) -> None:
        self.text = text = tkinter.Text(
            parent,
            background=theme.GROUND,
            highlightthickness=0,
            borderwidth=0,
            cursor="arrow",
            takefocus=False,
            width=10,
            **options,
        )
        # Without the class bindings of texts nobody can write here.  The state `disabled` would do as well, but it must
        # be lifted for each token, and every change of state makes Tk lay out the whole text again.
        text.bindtags((str(text), str(text.winfo_toplevel()), "all"))
        self._colour_emoji = draws_colour_emoji(text)
        self._following, self._scheduled = True, False
        text.bind("<MouseWheel>", lambda event: self.scroll(-1 if event.delta > 0 else 1, "units"))
        text.bind("<Button-4>", lambda _: self.scroll(-1, "units"))
        text.bind("<Button-5>", lambda _: self.scroll(1, "units"))
        text.bind("<Configure>", lambda _: self.follow())

    def insert(self, index: str, content: str, *tags: str) -> None:
        """Insert plain text at a Tk index, with these tags."""
        self.text.insert(index, displayable(content, self._colour_emoji), tags)

    def delete(self, start: str, end: str) -> None:
        """Delete what stands between two Tk indices."""
        self.text.delete(start, end)

    def clear(self) -> None:
        """Delete everything and follow the newest line again."""
        self.delete("1.0", "end")
        self._following = True

    def follow(self, force: bool = False) -> None:
        """Keep the newest line in sight, unless somebody has scrolled back; `force`: even then."""
        self._following = self._following or force
        if self._following and not self._scheduled:
            self._scheduled = True
            self.text.after_idle(self._show_end)

    def scroll(self, number: int, unit: Literal["units", "pages"] = "pages") -> None:
        """Scroll back (negative) or forward by wheel clicks (`units`) or pages."""
        self.text.yview_scroll(LINES_PER_CLICK * number if unit == "units" else number, unit)
        self._following = self.text.dlineinfo(LAST_LINE) is not None

    def _show_end(self) -> None:
        self._scheduled = False
        if self._following:
            self.text.see(LAST_LINE)
