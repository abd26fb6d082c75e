"""What an experiment came to: the lines of its runs read back, a table for people, and one line of JSON for programs.

Knows the files of a run's folder, not how they came about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wmkml.laboratory.measures import MEASURES, mean_of

Line = dict[str, Any]
"""A line of `measures.jsonl`."""

COLUMNS = {
    "distinct_2": "distinct-2",
    "repetition": "repetition",
    "entropy": "entropy",
    "length": "words",
    "empty": "empty",
    "ended": "ended",
    "real_words": "real words",
    "foreign_words": "foreign",
    "base_loss": "base loss",
    "facts": "facts",
}
"""The measures of the table, and their headings."""


@dataclass
class Outcome:
    """What became of every seed: its measures by iteration, and why it ended, where it did before its time."""

    title: str
    lines: dict[int, list[Line]] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    def means(self) -> dict[str, dict[int, float]]:
        """The mean of every measure over the seeds, by iteration."""
        found = {name: mean_of(list(self.lines.values()), name) for name in MEASURES}
        return {name: values for name, values in found.items() if values}


def read_lines(folder: Path) -> list[Line]:
    """The measures of a run, by iteration; none if it has none yet."""
    path = folder / "measures.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(outcome: Outcome) -> str:
    """The means by iteration; shares in per cent."""
    means = outcome.means()
    columns = [name for name in COLUMNS if name in means]
    iterations = sorted({iteration for values in means.values() for iteration in values})
    rows = [["iteration", *(COLUMNS[name] for name in columns)]]
    for iteration in iterations:
        rows.append([str(iteration), *(shown(name, means[name].get(iteration)) for name in columns)])
    return aligned(rows)


def shown(name: str, value: float | None) -> str:
    """A measure's value for people."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if MEASURES[name].share else f"{value:.2f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, the first column to the left and the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def summary(outcome: Outcome, described: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Everything that is known, for programs."""
    return {
        "command": "collapse",
        "out": str(out),
        **{name: value for name, value in described.items() if name != "settings"},
        "seeds": list(outcome.lines),
        "seconds": {str(seed): round(value, 1) for seed, value in outcome.seconds.items()},
        "ended": {str(seed): why for seed, why in outcome.ended.items()},
        "mean": {
            name: {str(iteration): round(value, 4) for iteration, value in values.items()}
            for name, values in outcome.means().items()
        },
    }


def as_json(outcome: Outcome, described: Mapping[str, Any], out: Path) -> str:
    """The summary on one line."""
    return json.dumps(summary(outcome, described, out), ensure_ascii=False)
