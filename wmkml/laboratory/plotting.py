"""Plot every measure against the iteration, each seed a thin line, their mean a thick one; needs no display."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from wmkml.laboratory.measures import MEASURES
from wmkml.laboratory.report import Outcome, not_measured_note
from wmkml.reports.figure_layout import place_missing_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
NOTE_CHARACTERS = 150
"""The length of a line below the panels."""
TITLE_CHARACTERS = 50
"""The length of a line over a panel, which is not to run into its neighbour's."""
INK, MEAN, GRID = "#1f2328", "#b3261e", "#e4e4e1"


def panel_title(name: str) -> str:
    """What stands over a measure's panel: its name, and below it what it means."""
    return f"{name}\n{textwrap.fill(MEASURES[name].meaning, TITLE_CHARACTERS)}"


def new_figure(size: tuple[float, float], title: str) -> Figure:
    """An empty figure of this size in inches, to be written to files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def plain_axes(axes: Axes) -> None:
    """Small figures, a faint grid, and no frame at the top and at the right; to be called after the axes have their labels."""
    axes.tick_params(labelsize=7, colors=INK, length=2)
    axes.grid(color=GRID, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    place_missing_labels(axes)


def set_panel_title(axes: Axes, title: str, size: float = 7.5) -> None:
    """Write a title over a panel, at its left, whose ticks are below it."""
    # `y`: else a height above all ticks is looked for, which is another quarter of all drawing.
    axes.set_title(title, fontsize=size, color=INK, loc="left", y=1.0)


def draw(outcome: Outcome) -> Figure:
    """The plot as a figure; a measure that no seed has gets no panel, and a line says so where it needs a library."""
    means = outcome.means()
    rows = math.ceil(len(means) / COLUMNS)
    title = f"{outcome.title}; {len(outcome.lines)} seeds, thick: their mean"
    figure = new_figure((3.6 * COLUMNS, 2.4 * rows + 0.6), title)
    if note := not_measured_note(outcome.not_measured()):
        figure.supxlabel(textwrap.fill(note, NOTE_CHARACTERS), fontsize=7, color=INK)
    for number, (name, mean) in enumerate(means.items()):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        for lines in outcome.lines.values():
            points = [(line["iteration"], line[name]) for line in lines if name in line]
            axes.plot([x for x, _ in points], [y for _, y in points], color=INK, linewidth=0.6, alpha=0.5)
        axes.plot(list(mean), list(mean.values()), color=MEAN, linewidth=2.0)
        set_panel_title(axes, panel_title(name))
        if MEASURES[name].is_share:
            axes.set_ylim(-0.03, 1.03)
        axes.set_xticks(range(min(mean), max(mean) + 1))
        plain_axes(axes)
    return figure
