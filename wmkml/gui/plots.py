"""Lines on canvases: the loss, one measure, a bar.  Each is given numbers and draws them; knows nothing of a run."""

from __future__ import annotations

import tkinter
from collections.abc import Sequence

from wmkml.gui import look

Points = Sequence[tuple[float, float]]
"""From 0 to 1 each, the greatest value at the top: (0, 0) is at the bottom on the left."""


class Plot:
    """A label, the newest value, and a line between or below them."""

    def __init__(self, parent: tkinter.Misc, dressed: look.Look, height: int, tag: str, color: str) -> None:
        self._look, self._tag, self._color = dressed, tag, color
        self.canvas = tkinter.Canvas(
            parent, height=dressed.px(height), width=10, background=look.RAISED, highlightthickness=0
        )
        self._points: Points = ()
        self._label, self._value = "", ""
        self.canvas.bind("<Configure>", lambda _: self._draw())

    def show(self, points: Points, label: str, value: str) -> None:
        """Draw this from now on; no line for fewer than two points, a dot for one."""
        if (points, label, value) != (self._points, self._label, self._value):
            self._points, self._label, self._value = points, label, value
            self._draw()

    def _draw(self) -> None:
        canvas, px = self.canvas, self._look.px
        width, height = canvas.winfo_width(), canvas.winfo_height()
        left, right, top, low = px(14), width - px(14), px(31), height - px(10)
        canvas.delete("all")
        canvas.create_text(left, px(14), anchor="w", text=self._label, fill=look.SOFT, font=self._look.small)
        canvas.create_text(
            right, px(14), anchor="e", text=self._value, fill=look.TEXT, font=self._look.small, tags="value"
        )
        places = [(left + across * (right - left), low - up * (low - top)) for across, up in self._points]
        if len(places) > 1:
            flat = [at for place in places for at in place]
            canvas.create_line(*flat, fill=self._color, width=px(2), tags=self._tag, joinstyle="round")
        if places:
            across, up = places[-1]
            dot = px(4)
            canvas.create_oval(across - dot, up - dot, across + dot, up + dot, fill=self._color, width=0)


class Bar:
    """A thin bar, full from the left to some part of it."""

    def __init__(self, parent: tkinter.Misc, dressed: look.Look, height: int, ground: str) -> None:
        self.canvas = tkinter.Canvas(
            parent, height=max(2, dressed.px(height)), width=10, background=ground, highlightthickness=0
        )
        self._part, self._color = 0.0, look.WARM
        self.canvas.bind("<Configure>", lambda _: self._draw())

    def show(self, part: float, color: str = look.WARM) -> None:
        """Be full to this part, from 0 to 1."""
        if (part, color) != (self._part, self._color):
            self._part, self._color = part, color
            self._draw()

    def _draw(self) -> None:
        width, height = self.canvas.winfo_width(), self.canvas.winfo_height()
        self.canvas.delete("all")
        if self._part > 0:
            self.canvas.create_rectangle(
                0, 0, width * min(1.0, self._part), height, fill=self._color, width=0, tags="bar"
            )
