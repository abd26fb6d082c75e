"""Figures of next-token results of labelled models; they need no display."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.analysis.figures import label_styles
from wmkml.laboratory.analysis.next_token.results import MEASURES, MICRO
from wmkml.laboratory.analysis.next_token.tables import Results
from wmkml.laboratory.plotting import INK, new_figure, plain_axes, set_panel_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
NORMAL_95 = 1.96
"""Standard errors to each side that hold 95 % of a normal distribution."""

BINS = 60
"""Points of a curve over positions, which are spread evenly over the logarithm."""


def measures_figure(results: Results) -> Figure:
    """Every measure, a point for each model with 1.96 standard errors to each side."""
    count = math.ceil(len(MEASURES) / COLUMNS)
    wide = min(4.6, max(3.4, 0.35 * len(results) + 1.4))
    figure = new_figure(
        (wide * COLUMNS, 2.9 * count + 0.6),
        f"What the next token is expected to be; {_corpus(results)}; bars: ± 1.96 standard errors, clustered by document",
    )
    for number, (name, measure) in enumerate(MEASURES.items(), 1):
        axes = figure.add_subplot(count, COLUMNS, number)
        for x, (label, result) in enumerate(results.items()):
            measured = result[MICRO]["measures"][name]
            if measured["value"] is None:
                continue
            colour, marker, _ = label_styles(len(results))[x]
            error = None if measured["error"] is None else NORMAL_95 * measured["error"]
            axes.errorbar(
                [x], [measured["value"]], yerr=error, color=colour, marker=marker, markersize=4, capsize=2, label=label
            )
        turned = _long(results)
        axes.set_xticks(
            range(len(results)), list(results), rotation=45 if turned else 0, ha="right" if turned else "center"
        )
        axes.set_xlim(-0.5, len(results) - 0.5)
        set_panel_title(axes, f"{name}\n{textwrap.fill(measure.meaning, 46)}", 7)
        plain_axes(axes)
    return figure


def ranks_figure(results: Results) -> Figure:
    """The mean probability of every rank, and their sum, the likeliest first."""
    figure = new_figure((10.0, 4.4), f"The next token's probabilities, sorted; mean over positions; {_corpus(results)}")
    single, summed = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    for (label, result), (colour, _, dashes) in zip(results.items(), label_styles(len(results)), strict=True):
        curves = result[MICRO]["ranks"]
        ranks = range(1, len(curves["probability"]) + 1)
        single.plot(ranks, curves["probability"], color=colour, linestyle=dashes, linewidth=1.4, label=label)
        summed.plot(ranks, curves["cumulative"], color=colour, linestyle=dashes, linewidth=1.4)
    single.set_xscale("log")
    single.set_yscale("log")
    summed.set_xscale("log")
    summed.set_ylim(0.0, 1.02)
    for mass in (0.7, 0.9):
        summed.axhline(mass, color=INK, linewidth=0.6, linestyle=":")
        summed.annotate(f"{mass:.0%}", (1, mass), fontsize=7, color=INK, va="bottom")
    for axes, title in ((single, "probability of this rank"), (summed, "probability of this rank and all before it")):
        set_panel_title(axes, title, 8)
        axes.set_xlabel("rank", fontsize=7, color=INK)
        plain_axes(axes)
    _legend(figure, results)
    return figure


def positions_figure(results: Results) -> Figure:
    """Entropy and log-probability by the position in the window: how much context helps."""
    figure = new_figure((10.0, 4.0), f"By the number of tokens that the model has read; {_corpus(results)}")
    names = {"entropy": "entropy, nats", "log_probability": "log-probability of the text's tokens, nats"}
    for number, (name, title) in enumerate(names.items(), 1):
        axes = figure.add_subplot(1, 2, number)
        for (label, result), (colour, _, dashes) in zip(results.items(), label_styles(len(results)), strict=True):
            points = binned(result[MICRO]["positions"][name])
            axes.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, linewidth=1.2, label=label)
        axes.set_xscale("log")
        set_panel_title(axes, title, 8)
        axes.set_xlabel("position in the window", fontsize=7, color=INK)
        plain_axes(axes)
    _legend(figure, results)
    return figure


def binned(values: list[float | None]) -> list[tuple[float, float]]:
    """(position, mean) over BINS bins that grow with the position, of the positions that are known."""
    bins: dict[int, list[tuple[int, float]]] = {}
    scale = BINS / math.log(len(values) + 1)
    for position, value in enumerate(values, 1):
        if value is not None:
            bins.setdefault(int(math.log(position) * scale), []).append((position, value))
    return [
        (sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)) for points in bins.values()
    ]


def _corpus(results: Results) -> str:
    first: Any = next(iter(results.values()))
    return f"{first[MICRO]['documents']} documents, window {first['window']}, stride {first['stride']}"


def _long(results: Results) -> bool:
    return max(map(len, results)) > 6 or len(results) > 4


def _legend(figure: Figure, results: Results) -> None:
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(results), 6), fontsize=8)
