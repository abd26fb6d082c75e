"""The picture of a death: every measure against the iteration, each seed a thin line, their mean a thick one.

Knows matplotlib, drawn into a file without any display; knows nothing of how the numbers came about.
"""

from __future__ import annotations

import math
from pathlib import Path

from wmkml.laboratory.measures import MEASURES
from wmkml.laboratory.report import Outcome

COLUMNS = 3
INK, MEAN, GRID = "#1f2328", "#b3261e", "#e4e4e1"


def plot(outcome: Outcome, path: Path) -> None:
    """Write the picture as a PNG; a measure that no seed has gets no field."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    means = outcome.means()
    rows = math.ceil(len(means) / COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 2.3 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{outcome.title}; {len(outcome.lines)} seeds, thick: their mean", fontsize=11, color=INK)
    for number, (name, mean) in enumerate(means.items()):
        field = figure.add_subplot(rows, COLUMNS, number + 1)
        for lines in outcome.lines.values():
            of_seed = [(line["iteration"], line[name]) for line in lines if name in line]
            field.plot([x for x, _ in of_seed], [y for _, y in of_seed], color=INK, linewidth=0.6, alpha=0.5)
        field.plot(list(mean), list(mean.values()), color=MEAN, linewidth=2.0)
        field.set_title(f"{name}: {MEASURES[name].meaning}", fontsize=8, color=INK, loc="left")
        if MEASURES[name].share:
            field.set_ylim(-0.03, 1.03)
        field.set_xticks(range(min(mean), max(mean) + 1))
        field.tick_params(labelsize=7, colors=INK, length=2)
        field.grid(color=GRID, linewidth=0.6)
        for side in ("top", "right"):
            field.spines[side].set_visible(False)
    figure.savefig(path, dpi=130)
