"""A figure of losses: every series a line over the optimizer steps, the rounds of a run marked; needs no display."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmkml.laboratory.analysis.figures import COLOURS
from wmkml.laboratory.plotting import GRID, INK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure
    from pandas import DataFrame

HELD_OUT_MARKER = "o"
MOST_ROUND_LINES = 40


def loss_lines(frame: DataFrame, smooth: int = 1) -> Iterator[tuple[str, DataFrame]]:
    """Every series of `read_losses` by its name, smoothed by a mean over `smooth` steps, except what is held out."""
    alone = frame["source"].nunique() == 1
    for (source, series), points in frame.groupby(["source", "series"], sort=False):
        points = points.sort_values("step", kind="stable")
        if smooth > 1 and series != "held out":
            points = points.assign(loss=points["loss"].rolling(smooth, min_periods=1).mean())
        yield (str(series) if alone else f"{source}, {series}"), points


def round_starts(frame: DataFrame) -> dict[int, float]:
    """The first step of every round, by its iteration, where one run alone is drawn."""
    if frame["source"].nunique() != 1:
        return {}
    rounds = frame.dropna(subset=["iteration"]).groupby("iteration")["step"].min()
    return {int(iteration): float(step) for iteration, step in rounds.items()}


def loss_figure(frame: DataFrame, *, smooth: int = 1, log: bool = False, title: str = "") -> Figure:
    """The losses of `read_losses` as a figure of matplotlib.

    Args:
        smooth: optimizer steps of which the mean is drawn; what was measured stays visible behind it.
        log: whether the loss has a logarithmic axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    measured = dict(loss_lines(frame))
    for index, (name, points) in enumerate(loss_lines(frame, smooth)):
        colour = COLOURS[index % len(COLOURS)]
        held_out = bool((points["series"] == "held out").all())
        if smooth > 1 and not held_out:
            axes.plot(measured[name]["step"], measured[name]["loss"], color=colour, linewidth=0.7, alpha=0.35)
        marker = HELD_OUT_MARKER if held_out or len(points) == 1 else None
        axes.plot(points["step"], points["loss"], color=colour, marker=marker, markersize=4, linewidth=1.6, label=name)
    starts = round_starts(frame)
    for iteration, step in starts.items():
        if 1 < len(starts) <= MOST_ROUND_LINES:
            axes.axvline(step - 0.5, color=GRID, linewidth=1.0, zorder=0)
            axes.text(
                step - 0.5,
                0.99,
                f" round {iteration}",
                transform=axes.get_xaxis_transform(),
                verticalalignment="top",
                fontsize=7,
                color=INK,
            )
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("optimizer step", color=INK)
    axes.set_ylabel("loss", color=INK)
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.tick_params(colors=INK, length=2)
    axes.grid(color=GRID, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure
