"""Charts as inline SVG, without ids and scripts: coloured by the page's style sheet, readable for screen readers by a label."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]

SMALL, WIDE = (320, 150), (960, 260)
"""Sizes in the SVG's own units; the page scales them."""

SPARK = (160, 40)
TICKS = 4
LABEL_WIDTH = 46
MOST_X_LABELS = 12
MIN_CELL_HEIGHT, MAX_CELL_HEIGHT = 6, 26
"""Of a heat map's cells, in the SVG's units: a model of eighty layers is no higher than a page."""


@dataclass(frozen=True)
class Axes:
    """A chart's field: where a value lies in the picture."""

    width: int
    height: int
    left: int
    top: int
    right: int
    bottom: int
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """From the left, in the SVG's units."""
        span = self.x_high - self.x_low or 1.0
        return round(self.left + (value - self.x_low) / span * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        """From the top."""
        span = self.y_high - self.y_low or 1.0
        return round(
            self.height - self.bottom - (value - self.y_low) / span * (self.height - self.top - self.bottom), 1
        )


def chart(
    lines: Sequence[Sequence[Point]],
    label: str,
    *,
    size: tuple[int, int],
    x_ticks: Sequence[tuple[float, str]],
    y_low: float,
    y_high: float,
    y_text: Callable[[float], str],
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines over one field.

    Args:
        lines: of each, its points from left to right.
        label: what a screen reader says.
        y_low, y_high: the range of the axis; values beyond stretch it.
        marks: upright lines with a word each, as where a round begins.
    """
    values = [y for line in lines for _, y in line]
    places = [x for line in lines for x, _ in line]
    low, high = min([y_low, *values]), max([y_high, *values])
    axes = Axes(*size, LABEL_WIDTH, 14 if marks else 8, 10, 20, min(places), max(places), low, high)
    parts = [f'<svg class="chart" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{html.escape(label)}">']
    for value in ticks(low, high):
        y = axes.y(value)
        parts.append(f'<path class="grid" d="M{axes.left} {y}H{size[0] - axes.right}"/>')
        parts.append(f'<text class="tick end" x="{axes.left - 6}" y="{y + 3.5}">{html.escape(y_text(value))}</text>')
    for x, word in marks:
        parts.append(f'<path class="mark" d="M{axes.x(x)} {axes.top - 4}V{size[1] - axes.bottom}"/>')
        parts.append(f'<text class="tick" x="{axes.x(x) + 3}" y="{axes.top - 3}">{html.escape(word)}</text>')
    every = max(1, math.ceil(len(x_ticks) / MOST_X_LABELS))
    for x, word in x_ticks[::every]:
        parts.append(f'<text class="tick middle" x="{axes.x(x)}" y="{size[1] - 5}">{html.escape(word)}</text>')
    for line in lines:
        parts.append(_line(axes, line))
        if size == SMALL or len(line) == 1:
            parts += [f'<circle class="dot" cx="{axes.x(x)}" cy="{axes.y(y)}" r="2.6"/>' for x, y in line]
    return "".join(parts) + "</svg>"


def heat_map(
    rows: Sequence[Sequence[float | None]],
    label: str,
    *,
    row_names: Sequence[str],
    column_names: Sequence[str],
    top: float,
    value_text: Callable[[float], str],
) -> str:
    """A field of cells, the first row at the bottom; the greater a cell's value, the fuller its colour.

    Args:
        rows: of each, its values from left to right; None: not measured, which is an empty frame.
        top: the value of the fullest colour.
        value_text: what is said of a cell where it is pointed at.
    """
    width = WIDE[0]
    height = max(MIN_CELL_HEIGHT, min(MAX_CELL_HEIGHT, WIDE[1] // max(1, len(rows))))
    cell = (width - LABEL_WIDTH - 10) / max(1, len(column_names))
    bottom = 8 + height * len(rows)
    parts = [f'<svg class="chart" viewBox="0 0 {width} {bottom + 20}" role="img" aria-label="{html.escape(label)}">']
    every = math.ceil(len(rows) / (WIDE[1] / MAX_CELL_HEIGHT))
    for number, (row, name) in enumerate(zip(rows, row_names, strict=True)):
        y = bottom - height * (number + 1)
        if number % every == 0:
            middle = y + height / 2 + 3.5
            parts.append(f'<text class="tick end" x="{LABEL_WIDTH - 6}" y="{middle:g}">{html.escape(name)}</text>')
        for column, value in enumerate(row):
            place = f'x="{LABEL_WIDTH + column * cell + 1:.1f}" y="{y + 0.5:g}" width="{cell - 2:.1f}" height="{height - 1}"'
            if value is None:
                parts.append(f'<rect class="cell none" {place}/>')
                continue
            share = min(1.0, max(0.0, value / top)) if top > 0 else 0.0
            caption = f"{name}, {column_names[column]}: {value_text(value)}"
            parts.append(f'<rect class="cell" fill-opacity="{0.04 + 0.96 * share:.3f}" {place}>')
            parts.append(f"<title>{html.escape(caption)}</title></rect>")
    step = max(1, math.ceil(len(column_names) / MOST_X_LABELS))
    for column, word in list(enumerate(column_names))[::step]:
        x = LABEL_WIDTH + (column + 0.5) * cell
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{bottom + 14}">{html.escape(word)}</text>')
    return "".join(parts) + "</svg>"


def sparkline(points: Sequence[Point], label: str, *, y_low: float, y_high: float) -> str:
    """A curve without axes, its last point marked."""
    values = [y for _, y in points]
    low, high = min([y_low, *values]), max([y_high, *values])
    axes = Axes(*SPARK, 4, 4, 6, 4, points[0][0], points[-1][0], low, high)
    x, y = points[-1]
    return (
        f'<svg class="spark" viewBox="0 0 {SPARK[0]} {SPARK[1]}" role="img" aria-label="{html.escape(label)}">'
        f'{_line(axes, points)}<circle class="dot" cx="{axes.x(x)}" cy="{axes.y(y)}" r="3"/></svg>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Round values from `low` to `high`, about TICKS of them: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _line(axes: Axes, points: Sequence[Point]) -> str:
    path = "L".join(f"{axes.x(x)} {axes.y(y)}" for x, y in points)
    return f'<path class="line" d="M{path}"/>'
