"""What was measured of labelled answers, as a DataFrame, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.analysis.output_diversity import meaning_in
from wmkml.measures.diversity_table import SHOWN

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("label", "kind", "measure", "temperature", "mean", "low", "high", "n")
ALL = "all"
"""In the column of temperatures: each prompt's mean over its temperatures."""


def rows(result: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Every estimate of `output_diversity`, as cells by COLUMNS; means over temperatures first."""
    for label, kinds in result["labels"].items():
        for kind, measures in kinds.items():
            for measure, values in measures.items():
                for temperature, estimate in ((ALL, values), *values["by_temperature"].items()):
                    numbers = (estimate[column] for column in ("mean", "low", "high", "n"))
                    yield label, kind, measure, temperature, *numbers


def to_frame(result: Mapping[str, Any]) -> DataFrame:
    """The estimates as a DataFrame with COLUMNS, one a row; needs pandas."""
    from pandas import DataFrame

    return DataFrame.from_records(list(rows(result)), columns=list(COLUMNS))


def to_csv(result: Mapping[str, Any]) -> str:
    """The estimates as CSV with COLUMNS; what could not be measured is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(result))
    return stream.getvalue()


def to_markdown(result: Mapping[str, Any]) -> str:
    """A table for each kind of prompt: measures down, labels across, each a mean with its 95 % interval."""
    labels = result["labels"]
    parts = []
    for kind in kinds_of(result):
        present = [label for label in labels if kind in labels[label]]
        lines = [
            f"## {kind}",
            "",
            f"| measure | means | as answers grow alike | {' | '.join(map(_cell, present))} |",
            f"| --- | --- | --- |{' --- |' * len(present)}",
        ]
        for name, measure in SHOWN.items():
            if not any(name in labels[label][kind] for label in present):
                continue
            cells = [estimate_text(labels[label][kind].get(name)) for label in present]
            lines.append(f"| `{name}` | {meaning_in(result, name)} | {measure.direction} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def kinds_of(result: Mapping[str, Any]) -> list[str]:
    """The kinds of prompts in the order of their first label."""
    return list(dict.fromkeys(kind for kinds in result["labels"].values() for kind in kinds))


def estimate_text(estimate: Mapping[str, Any] | None) -> str:
    """An estimate as text: "0.312 [0.290, 0.335], n = 20"; a dash where nothing was measured, or that it cannot be."""
    if estimate is None or estimate["mean"] is None:
        return "not measured" if estimate and "not_measured" in estimate else "–"
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return f"{estimate['mean']:.3f}{interval}, n = {estimate['n']}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
