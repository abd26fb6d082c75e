"""Figures of labelled answers: every measure against the temperature, a line for each label; needs no display."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.analysis.answers import UNKNOWN
from wmkml.laboratory.analysis.output_diversity import meaning_in
from wmkml.laboratory.plotting import INK, new_figure, plain_axes, set_panel_title
from wmkml.measures.diversity_table import SHOWN
from wmkml.reports.figure_layout import lay_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which are told apart with any colour vision; markers differ as well."""

OVERVIEW = (
    "self_bleu",
    "distinct_2",
    "vendi",
    "vendi_embeddings",
    "compression_ratio",
    "mean_length",
    "share_too_short",
    "fact_accuracy",
)
"""What `overview_figure` shows: of each family of measures one, and what puts it in doubt."""

MARKERS = "osD^vP"
DASHES = ("-", "--", ":", "-.")

MOST_APART = len(COLOURS)
"""More labels than this take the colours of a row, from dark to light, since they mostly are one: a run's iterations."""


def label_styles(count: int) -> list[tuple[str, str, str]]:
    """Colour, marker and dashes of each of so many labels, in order."""
    if count <= MOST_APART:
        return [(COLOURS[index], MARKERS[index], "-") for index in range(count)]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    row = colormaps["viridis"]
    return [
        (to_hex(row(0.9 * index / (count - 1))), MARKERS[index % len(MARKERS)], DASHES[index % len(DASHES)])
        for index in range(count)
    ]


def diversity_figure(result: Mapping[str, Any], kind: str) -> Figure:
    """Every measure of one kind of prompts: lines over temperatures with their 95 % intervals, coloured by label."""
    labels = [label for label, kinds in result["labels"].items() if kind in kinds]
    # A measure that no label has gets no panel.
    measures = [name for name in SHOWN if any(result["labels"][label][kind].get(name, {}).get("n") for label in labels)]
    count = math.ceil(max(1, len(measures)) / COLUMNS)
    figure = new_figure(
        (3.4 * COLUMNS, 2.2 * count + 0.8),
        f"Diversity of answers to {kind} prompts; mean over prompts, 95 % interval",
    )
    # A label looks the same in the figure of every kind.
    styles = dict(zip(result["labels"], label_styles(len(result["labels"])), strict=True))
    for number, name in enumerate(measures, 1):
        axes = figure.add_subplot(count, COLUMNS, number)
        for label in labels:
            if name in result["labels"][label][kind]:
                _draw(axes, result["labels"][label][kind][name], label, styles[label])
        set_panel_title(axes, f"{name}\n{textwrap.fill(meaning_in(result, name), 46)}", 7)
        axes.set_xlabel("temperature", fontsize=7, color=INK)
        plain_axes(axes)
    if not measures:
        figure.text(0.5, 0.5, "Nothing could be measured: there are no answers.", ha="center", fontsize=9, color=INK)
        return figure
    handles, names = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 6), fontsize=8)
    return figure


def overview_figure(result: Mapping[str, Any]) -> Figure:
    """The measures of OVERVIEW, a line for each kind of prompts over the labels in their order; means over temperatures."""
    labels = list(result["labels"])
    kinds = list(dict.fromkeys(kind for of_label in result["labels"].values() for kind in of_label))
    figure = new_figure(
        (3.4 * COLUMNS, 2.6 * math.ceil(len(OVERVIEW) / COLUMNS) + 0.8),
        "Diversity of answers by the kind of prompts; mean over prompts and temperatures, 95 % interval",
    )
    for number, name in enumerate(OVERVIEW, 1):
        axes = figure.add_subplot(math.ceil(len(OVERVIEW) / COLUMNS), COLUMNS, number)
        for kind, (colour, marker, dashes) in zip(kinds, label_styles(len(kinds)), strict=True):
            estimates = [
                (x, result["labels"][label][kind][name])
                for x, label in enumerate(labels)
                if result["labels"][label].get(kind, {}).get(name, {}).get("mean") is not None
            ]
            x, means = [x for x, _ in estimates], [estimate["mean"] for _, estimate in estimates]
            axes.plot(x, means, color=colour, marker=marker, linestyle=dashes, markersize=3.5, label=kind)
            bounded = [(x, estimate) for x, estimate in estimates if estimate["low"] is not None]
            low, high = ([estimate[end] for _, estimate in bounded] for end in ("low", "high"))
            axes.vlines([x for x, _ in bounded], low, high, color=colour, linewidth=1.0, alpha=0.6)
        set_panel_title(axes, f"{name}\n{textwrap.fill(meaning_in(result, name), 46)}", 7)
        turned = len(labels) > 4 or max(map(len, labels)) > 8
        axes.set_xticks(range(len(labels)), labels, rotation=45 if turned else 0, ha="right" if turned else "center")
        axes.set_xlim(-0.3, len(labels) - 0.7)
        plain_axes(axes)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 6), fontsize=8)
    return figure


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG beside each other.

    Args:
        path: without an ending.

    Returns:
        The files written.
    """
    files = [path.with_name(f"{path.name}.{ending}") for ending in ("png", "svg")]
    lay_out(figure)
    for file in files:
        figure.savefig(file, dpi=130)
    return files


def _draw(axes: Axes, values: Mapping[str, Any], label: str, style: tuple[str, str, str]) -> None:
    """One label's line; answers of an unknown temperature stand at the left edge as a level."""
    colour, marker, _ = style
    by_temperature = values["by_temperature"]
    points = [
        (float(temperature), estimate)
        for temperature, estimate in by_temperature.items()
        if temperature != UNKNOWN and estimate["mean"] is not None
    ]
    if points:
        x, means = [temperature for temperature, _ in points], [estimate["mean"] for _, estimate in points]
        axes.plot(x, means, color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=label)
        bounded = [(temperature, estimate) for temperature, estimate in points if estimate["low"] is not None]
        axes.vlines(
            [temperature for temperature, _ in bounded],
            [estimate["low"] for _, estimate in bounded],
            [estimate["high"] for _, estimate in bounded],
            color=colour,
            linewidth=1.0,
            alpha=0.6,
        )
    unknown = by_temperature.get(UNKNOWN)
    if unknown and unknown["mean"] is not None:
        axes.axhline(unknown["mean"], color=colour, linewidth=1.0, linestyle="--", label=f"{label}, {UNKNOWN}")
