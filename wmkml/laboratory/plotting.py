"""Plot every measure against the iteration, each seed a thin line, their mean a thick one; needs no display."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from wmkml.laboratory.measures import MEASURES
from wmkml.laboratory.report import Outcome, not_measured_note

if TYPE_CHECKING:
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


def draw(outcome: Outcome) -> Figure:
    """The plot as a figure; a measure that no seed has gets no panel, and a line says so where it needs a library."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    means = outcome.means()
    rows = math.ceil(len(means) / COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 2.4 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{outcome.title}; {len(outcome.lines)} seeds, thick: their mean", fontsize=11, color=INK)
    if note := not_measured_note(outcome.not_measured()):
        figure.supxlabel(textwrap.fill(note, NOTE_CHARACTERS), fontsize=7, color=INK)
    for number, (name, mean) in enumerate(means.items()):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        for lines in outcome.lines.values():
            points = [(line["iteration"], line[name]) for line in lines if name in line]
            axes.plot([x for x, _ in points], [y for _, y in points], color=INK, linewidth=0.6, alpha=0.5)
        axes.plot(list(mean), list(mean.values()), color=MEAN, linewidth=2.0)
        axes.set_title(panel_title(name), fontsize=7.5, color=INK, loc="left")
        if MEASURES[name].is_share:
            axes.set_ylim(-0.03, 1.03)
        axes.set_xticks(range(min(mean), max(mean) + 1))
        axes.tick_params(labelsize=7, colors=INK, length=2)
        axes.grid(color=GRID, linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure
