"""The profile of an experiment: each definition's number before and after, and the change, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.profile.bootstrap import SeedEstimate, estimate
from wmkml.laboratory.profile.definitions import DEFINITIONS, Definition, Lines
from wmkml.laboratory.report import align_columns

if TYPE_CHECKING:
    from pandas import DataFrame

FRAME_COLUMNS = ("definition", "source", "measure", "iteration", "mean", "low", "high", "n")
VERDICTS = {True: "yes", False: "no", None: "open"}


@dataclass(frozen=True)
class ProfileRow:
    """One definition's answer.

    Attributes:
        curve: its number at each iteration; empty where it is not measured.
        change: the last less the untouched model's, seed by seed; as a factor's, the last less 1.
    """

    definition: Definition
    curve: tuple[tuple[int, SeedEstimate], ...]
    change: SeedEstimate | None

    @property
    def holds(self) -> bool | None:
        """Whether the interval of the change lies in the direction of dying; None where it holds 0 or there is none."""
        if self.change is None or self.change.low is None or self.change.high is None:
            return None
        low, high = self.change.low, self.change.high
        if not self.definition.rises:
            low, high = -high, -low
        return True if low > 0 else False if high < 0 else None

    def cells(self) -> list[str]:
        """Definition, measure, before, after, change, whether it holds, as text."""
        if not self.curve or self.change is None:
            return [self.definition.name, self.definition.measure or "–", "–", "–", "–", "not measured"]
        share = self.definition.format == "share"
        numbers = [value.text(share=share) for value in (self.curve[0][1], self.curve[-1][1], self.change)]
        return [self.definition.name, self.definition.measure, *numbers, VERDICTS[self.holds]]


@dataclass(frozen=True)
class Profile:
    """What every definition says of the same runs."""

    rows: tuple[ProfileRow, ...]
    seeds: int

    def as_text(self) -> str:
        """A table for people, with a note on each definition that has one."""
        head = ["collapse, defined as", "by", "untouched", "at the end", "change", "holds"]
        notes = [f"{row.definition.name}: {row.definition.note}." for row in self.rows if row.definition.note]
        if self.seeds < 2:
            notes.insert(0, "One seed has no interval, so nothing is decided: --seeds 3, or more.")
        table = align_columns([head, *(row.cells() for row in self.rows)])
        return table + "\n\n" + "\n".join(notes)

    def as_json(self) -> list[dict[str, Any]]:
        """For programs: a record for each definition."""
        return [
            {
                "definition": row.definition.name,
                "source": row.definition.source,
                "measure": row.definition.measure or None,
                "holds": row.holds,
                "change": None if row.change is None else vars(row.change),
                "iterations": {str(iteration): vars(value) for iteration, value in row.curve},
            }
            for row in self.rows
        ]

    def to_frame(self) -> DataFrame:
        """The curves as a DataFrame with FRAME_COLUMNS, a row for each definition and iteration; needs pandas."""
        from pandas import DataFrame

        records = [
            (
                row.definition.name,
                row.definition.source,
                row.definition.measure,
                iteration,
                value.mean,
                value.low,
                value.high,
                value.n,
            )
            for row in self.rows
            for iteration, value in row.curve
        ]
        return DataFrame.from_records(records, columns=list(FRAME_COLUMNS))


def profile(runs: Mapping[int, Lines]) -> Profile:
    """The profile of runs by seed, each the lines of its measures from the untouched model on.

    Only iterations that every run has are compared.
    """
    lines = [list(of_run) for of_run in runs.values()]
    length = min((len(of_run) for of_run in lines), default=0)
    return Profile(tuple(_row(definition, lines, length) for definition in DEFINITIONS), len(lines))


def _row(definition: Definition, runs: Sequence[Sequence[Mapping[str, Any]]], length: int) -> ProfileRow:
    curve: list[tuple[int, SeedEstimate]] = []
    by_iteration: list[list[float | None]] = []
    for index in range(length):
        values = [definition.value(of_run[: index + 1]) for of_run in runs]
        by_iteration.append(values)
        known = estimate([value for value in values if value is not None])
        if known is not None:
            curve.append((int(runs[0][index]["iteration"]), known))
    changes = [
        last - first
        for first, last in (zip(by_iteration[0], by_iteration[-1], strict=True) if length else [])
        if first is not None and last is not None
    ]
    return ProfileRow(definition, tuple(curve), estimate(changes))
