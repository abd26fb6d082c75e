"""Plots on canvases: a line with its label and newest value, and a bar."""

from __future__ import annotations

import tkinter
from collections.abc import Sequence

from wmkml.gui import theme

Points = Sequence[tuple[float, float]]
"""(x, y), each from 0 to 1; (0, 0) is at the bottom left."""

LOW = 40
"""Below this height, in pixels at 100 %, a plot is a single row."""


class Plot:
    """A label, the newest value, and a line below them, or between them where it is low; `tag` names the line on the canvas."""

    def __init__(self, parent: tkinter.Misc, look: theme.Theme, height: int, tag: str, color: str) -> None:
        self._look, self._tag, self._color = look, tag, color
        self.canvas = tkinter.Canvas(
            parent, height=look.px(height), width=10, background=theme.RAISED, highlightthickness=0
        )
        self._points: Points = ()
        self._label, self._value = "", ""
        self.canvas.bind("<Configure>", lambda _: self._draw())

    def show(self, points: Points, label: str, value: str) -> None:
        """Draw these points: a line from two points on, and a dot at the last."""
        if (points, label, value) != (self._points, self._label, self._value):
            self._points, self._label, self._value = points, label, value
            self._draw()

    def _draw(self) -> None:
        canvas, px = self.canvas, self._look.px
        width, height = canvas.winfo_width(), canvas.winfo_height()
        left, right, top, bottom = px(14), width - px(14), px(31), height - px(10)
        low = height < px(LOW)
        middle = height // 2 if low else px(14)
        canvas.delete("all")
        canvas.create_text(left, middle, anchor="w", text=self._label, fill=theme.SOFT, font=self._look.small)
        canvas.create_text(
            right, middle, anchor="e", text=self._value, fill=theme.TEXT, font=self._look.small, tags="value"
        )
        if low:
            left, right, top, bottom = round(0.45 * width), width - px(72), px(5), height - px(5)
        pixels = [(left + x * (right - left), bottom - y * (bottom - top)) for x, y in self._points]
        if len(pixels) > 1:
            coordinates = [coordinate for point in pixels for coordinate in point]
            canvas.create_line(*coordinates, fill=self._color, width=px(2), tags=self._tag, joinstyle="round")
        if pixels:
            x, y = pixels[-1]
            radius = px(2 if low else 4)
            canvas.create_oval(x - radius, y - radius, x + radius, y + radius, fill=self._color, width=0)


class Bar:
    """A thin horizontal bar, filled from the left."""

    def __init__(self, parent: tkinter.Misc, look: theme.Theme, height: int, background: str) -> None:
        self.canvas = tkinter.Canvas(
            parent, height=max(2, look.px(height)), width=10, background=background, highlightthickness=0
        )
        self._share, self._color = 0.0, theme.WARM
        self.canvas.bind("<Configure>", lambda _: self._draw())

    def show(self, share: float, color: str = theme.WARM) -> None:
        """Fill this share of the bar, from 0 to 1."""
        if (share, color) != (self._share, self._color):
            self._share, self._color = share, color
            self._draw()

    def _draw(self) -> None:
        width, height = self.canvas.winfo_width(), self.canvas.winfo_height()
        self.canvas.delete("all")
        if self._share > 0:
            self.canvas.create_rectangle(
                0, 0, width * min(1.0, self._share), height, fill=self._color, width=0, tags="bar"
            )
