"""What a reproduction gives: findings (expected and found, with the paper) and the curves behind them, for any reader."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from wmkml.laboratory.profile.bootstrap import SeedEstimate
from wmkml.laboratory.report import align_columns

if TYPE_CHECKING:
    from pandas import DataFrame

CURVE_COLUMNS = ("reproduction", "measure", "condition", "source", "generation", "mean", "low", "high", "n")
FINDING_COLUMNS = ("reproduction", "claim", "paper", "expected", "found", "holds")
VERDICTS = {True: "yes", False: "no", None: "open"}
WIDTH = 100
"""Characters of a line of a finding."""


@dataclass(frozen=True)
class Finding:
    """One claim of a paper beside what came out here.

    Attributes:
        observed: what came out here; "found" in tables.
        holds: None where that does not decide it.
    """

    claim: str
    paper: str
    expected: str
    observed: str
    holds: bool | None


@dataclass(frozen=True)
class Curve:
    """A measure over generations under one condition; `expected` is computed from a formula, `found` was run."""

    measure: str
    condition: str
    source: Literal["expected", "found"]
    points: tuple[tuple[int, SeedEstimate], ...]


@dataclass
class ReproductionResult:
    """A reproduction that was run.

    Attributes:
        setting: what was run, in a sentence.
        departures: where it differs from the papers, one sentence each.
    """

    name: str
    title: str
    setting: str
    findings: list[Finding]
    curves: list[Curve]
    departures: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def as_text(self) -> str:
        """For people: each claim with its paper, expected and found side by side."""
        parts = [self.title, self.setting, *self.departures, ""]
        for finding in self.findings:
            parts.append(f"{finding.claim}\n  {finding.paper}")
            cells = [["expected", "found", "holds"], [finding.expected, finding.observed, VERDICTS[finding.holds]]]
            if len(finding.expected) + len(finding.observed) < WIDTH:
                parts.append(textwrap.indent(_side_by_side(cells), "  "))
            else:
                parts += [f"  {head}: {cell}" for head, cell in zip(*cells, strict=True)]
            parts.append("")
        return "\n".join([*parts, *self.notes]).rstrip() + "\n"

    def as_markdown(self) -> str:
        """A table of the findings."""
        rows = ["| claim | paper | expected | found | holds |", "| --- | --- | --- | --- | --- |"]
        for finding in self.findings:
            cells = (finding.claim, finding.paper, finding.expected, finding.observed, VERDICTS[finding.holds])
            rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        return "\n".join(rows) + "\n"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "command": "collapse",
            "reproduce": self.name,
            "setting": self.setting,
            "departures": list(self.departures),
            "findings": [
                dict(zip(FINDING_COLUMNS[1:], vars(finding).values(), strict=True)) for finding in self.findings
            ],
            "curves": [dict(zip(CURVE_COLUMNS, row, strict=True)) for row in self._rows()],
            "notes": self.notes,
        }

    def to_frame(self) -> DataFrame:
        """The curves as a DataFrame with CURVE_COLUMNS, a row for each generation; needs pandas."""
        from pandas import DataFrame

        return DataFrame.from_records(list(self._rows()), columns=list(CURVE_COLUMNS))

    def findings_frame(self) -> DataFrame:
        """The findings as a DataFrame with FINDING_COLUMNS; needs pandas."""
        from pandas import DataFrame

        rows = [(self.name, *vars(finding).values()) for finding in self.findings]
        return DataFrame.from_records(rows, columns=list(FINDING_COLUMNS))

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for curve in self.curves:
            for generation, value in curve.points:
                numbers = (value.mean, value.low, value.high, value.n)
                yield self.name, curve.measure, curve.condition, curve.source, generation, *numbers


def _side_by_side(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(line.rstrip() for line in align_columns([[*row, ""] for row in rows]).splitlines())
