"""The report's pictures as PNG, for who wants to print or show them elsewhere; needs no display.

The page draws its own charts (`wmkml.reports.charts`), which follow its colours and are text to a screen reader.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.reports.curves import curves_of
from wmkml.reports.figure_layout import lay_out, place_missing_labels
from wmkml.reports.record import RunRecord
from wmkml.reports.texts import TEXTS, ReportLanguage, language_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes as PlotAxes
    from matplotlib.figure import Figure

COLUMNS = 3
GROUND, INK, QUIET, WARM, GRID = "#121317", "#ece7db", "#a3a6ad", "#e0ad5c", "#30343d"
"""Colours of the pages, from `frontend/src/lib/theme.css`."""

DPI = 130


def save_figures(record: RunRecord, language: ReportLanguage, folder: Path) -> None:
    """Write `measures.png` and `losses.png`; a run without steps or measures has an empty one, which says so."""
    for name, figure in (
        ("measures", _measures_figure(record, language)),
        ("losses", _losses_figure(record, language)),
    ):
        lay_out(figure)
        figure.savefig(folder / f"{name}.png", dpi=DPI)


def _measures_figure(record: RunRecord, language: ReportLanguage) -> Figure:
    curves = curves_of(record)
    rows = max(1, math.ceil(len(curves) / COLUMNS))
    figure = _new_figure((3.6 * COLUMNS, 2.2 * rows + 0.6), _title(record, language))
    if not curves:
        figure.supxlabel(TEXTS[language]["no_measures"], color=QUIET)
    for number, curve in enumerate(curves, 1):
        axes = figure.add_subplot(rows, COLUMNS, number)
        iterations = [iteration for iteration, _ in curve.points]
        axes.plot(iterations, [value for _, value in curve.points], color=WARM, marker="o", markersize=3, linewidth=1.6)
        # `y`: else a height above all ticks is looked for, which is a quarter of all drawing.
        axes.set_title(curve.measure.words(language).title, fontsize=9, color=INK, loc="left", y=1.0)
        if curve.measure.is_share:
            axes.set_ylim(-0.03, 1.03)
        axes.set_xticks(iterations)
        _plain(axes)
    return figure


def _losses_figure(record: RunRecord, language: ReportLanguage) -> Figure:
    figure = _new_figure((10.8, 4.0), f"{TEXTS[language]['losses']}: {_title(record, language)}")
    if not record.losses:
        figure.supxlabel(TEXTS[language]["no_losses"], color=QUIET)
        return figure
    axes, start = figure.add_subplot(), 0
    for iteration in sorted({point.iteration for point in record.losses}):
        losses = [point.loss for point in record.losses if point.iteration == iteration]
        steps = range(start + 1, start + 1 + len(losses))
        axes.axvline(start + 0.5, color=GRID, linewidth=1.0)
        axes.plot(steps, losses, color=WARM, marker="o" if len(losses) == 1 else None, markersize=3, linewidth=1.6)
        start += len(losses)
    _plain(axes)
    return figure


def _new_figure(size: tuple[float, float], title: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", facecolor=GROUND)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def _title(record: RunRecord, language: ReportLanguage) -> str:
    return f"{record.run}, {language_name(language, record.language)}, {record.model}"


def _plain(axes: PlotAxes) -> None:
    axes.set_facecolor(GROUND)
    axes.tick_params(labelsize=7, colors=QUIET, length=2)
    axes.grid(color=GRID, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_color(GRID)
        spine.set_visible(side in ("left", "bottom"))
    place_missing_labels(axes)
