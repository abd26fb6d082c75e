"""A reproduction's curves as a figure: a panel for each measure, a colour for each condition; needs no display."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wmkml.laboratory.analysis.figures import COLOURS, MARKERS
from wmkml.laboratory.measures import MEASURES
from wmkml.laboratory.plotting import INK, new_figure, panel_title, plain_axes, set_panel_title
from wmkml.laboratory.reproductions.results import ReproductionResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3


def reproduction_figure(result: ReproductionResult) -> Figure:
    """Found as lines with their 95 % intervals as bands, expected from a formula as black dashes."""
    measures = list(dict.fromkeys(curve.measure for curve in result.curves))
    conditions = list(dict.fromkeys(curve.condition for curve in result.curves))
    columns = min(COLUMNS, len(measures))
    rows = math.ceil(len(measures) / columns)
    figure = new_figure((max(5.0, 3.8 * columns), 2.9 * rows + 0.8), f"{result.name}: {result.title}")
    for number, measure in enumerate(measures, 1):
        axes = figure.add_subplot(rows, columns, number)
        for curve in result.curves:
            if curve.measure != measure:
                continue
            x = [generation for generation, _ in curve.points]
            means = [value.mean for _, value in curve.points]
            index = conditions.index(curve.condition)
            if curve.source == "expected":
                label = "expected" if index == 0 else None
                axes.plot(x, means, color=INK, linestyle="--", linewidth=1.0, label=label, zorder=3)
                continue
            colour = COLOURS[index % len(COLOURS)]
            marker = MARKERS[index % len(MARKERS)]
            axes.plot(x, means, color=colour, marker=marker, markersize=3.5, linewidth=1.5, label=curve.condition)
            low = [value.mean if value.low is None else value.low for _, value in curve.points]
            high = [value.mean if value.high is None else value.high for _, value in curve.points]
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        set_panel_title(axes, panel_title(measure) if measure in MEASURES else measure)
        axes.set_xlabel("generation", fontsize=8, color=INK)
        plain_axes(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), fontsize=8)
    return figure
