"""Plots on canvases: a line with its label and newest value, and a bar."""

from __future__ import annotations

import tkinter
from collections.abc import Sequence

from wmkml.gui import theme

Points = Sequence[tuple[float, float]]
"""(x, y), each from 0 to 1; (0, 0) is at the bottom left."""

LOW = 40
"""Below this height, in pixels at 100 %, a plot is a single row."""


VALUE_WIDTH, LEAST_LINE = 38, 44
"""In a single row: the room of the value, and the least one of the line, in pixels at 100 %."""


class Plot:
    """A label, the newest value, and a line below them, or between them where it is low; `tag` names the line on the canvas.

    In a single row the line begins where the widest label of its neighbours ends, so that lines stand under each other; a
    label that would leave it no room is shortened.
    """

    def __init__(self, parent: tkinter.Misc, look: theme.Theme, height: int, tag: str, color: str) -> None:
        self._look, self._tag, self._color = look, tag, color
        self.canvas = tkinter.Canvas(
            parent, height=look.px(height), width=10, background=theme.RAISED, highlightthickness=0
        )
        self._points: Points = ()
        self._label, self._value, self._label_width = "", "", 0
        self.canvas.bind("<Configure>", lambda _: self._draw())

    def show(self, points: Points, label: str, value: str, label_width: int = 0) -> None:
        """Draw these points: a line from two points on, and a dot at the last.

        Args:
            label_width: of the widest label among its neighbours, in pixels.
        """
        if (points, label, value, label_width) != (self._points, self._label, self._value, self._label_width):
            self._points, self._label, self._value, self._label_width = points, label, value, label_width
            self._draw()

    def _draw(self) -> None:
        canvas, px = self.canvas, self._look.px
        width, height = canvas.winfo_width(), canvas.winfo_height()
        low = height < px(LOW)
        margin = px(8 if low else 14)
        left, right, top, bottom = margin, width - margin, px(31), height - px(10)
        middle, label = px(14), self._label
        if low:
            middle, top, bottom = height // 2, px(5), height - px(5)
            room = width - 2 * margin - px(VALUE_WIDTH) - px(LEAST_LINE) - margin
            label = self._shortened(label, room)
        canvas.delete("all")
        canvas.create_text(left, middle, anchor="w", text=label, fill=theme.SOFT, font=self._look.small, tags="label")
        canvas.create_text(
            right, middle, anchor="e", text=self._value, fill=theme.TEXT, font=self._look.small, tags="value"
        )
        if low:
            left += min(room, max(self._label_width, self._look.small.measure(label))) + margin
            right -= px(VALUE_WIDTH)
        pixels = [(left + x * (right - left), bottom - y * (bottom - top)) for x, y in self._points]
        if len(pixels) > 1:
            coordinates = [coordinate for point in pixels for coordinate in point]
            canvas.create_line(*coordinates, fill=self._color, width=px(2), tags=self._tag, joinstyle="round")
        if pixels:
            x, y = pixels[-1]
            radius = px(2 if low else 4)
            canvas.create_oval(x - radius, y - radius, x + radius, y + radius, fill=self._color, width=0)

    def _shortened(self, label: str, room: int) -> str:
        """The label, with an ellipsis where it is wider than so many pixels."""
        measure = self._look.small.measure
        if measure(label) <= room:
            return label
        while label and measure(f"{label}…") > room:
            label = label[:-1]
        return f"{label.rstrip()}…"


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
