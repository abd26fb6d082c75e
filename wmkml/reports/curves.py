"""Every measure of a run as a curve over the iterations, and what it did: from where to where, and when most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wmkml.measures.measure import Measure
from wmkml.measures.registry import TABLE
from wmkml.reports.record import RunRecord

ARCHIVED = ("life", "distinct_2", "perplexity", "entropy")
"""The measures by which the archive shows a run, as far as it has them."""


@dataclass(frozen=True)
class MeasureCurve:
    """One measure against the iteration; every point was measured, and there is at least one."""

    measure: Measure
    points: tuple[tuple[int, float], ...]

    @property
    def first(self) -> float:
        """The value of the first iteration that was measured."""
        return self.points[0][1]

    @property
    def last(self) -> float:
        """The value of the last one."""
        return self.points[-1][1]

    def largest_step(self) -> tuple[int, int] | None:
        """The two iterations in a row between which it went furthest in its direction; None where it never went there.

        A measure without a direction is looked at both ways.
        """
        sign = {"falls": -1.0, "rises": 1.0}.get(self.measure.direction)
        steps = [
            ((late[1] - early[1]) * sign if sign else abs(late[1] - early[1]), early[0], late[0])
            for early, late in zip(self.points, self.points[1:], strict=False)
        ]
        size, before, after = max(steps, default=(0.0, 0, 0), key=lambda step: step[0])
        return (before, after) if size > 0 else None

    def goes_as_dying(self) -> bool | None:
        """Whether its last value lies from its first where a dying language has it; None without a direction."""
        if self.measure.direction == "either" or len(self.points) < 2:
            return None
        return self.last < self.first if self.measure.direction == "falls" else self.last > self.first


def curves_of(record: RunRecord) -> list[MeasureCurve]:
    """Every measure of the record that has a value, in the registry's order; losses of training have a place of their own."""
    return _curves(record, (measure for measure in TABLE.values() if measure.of != "training"))


def archived_curves(record: RunRecord) -> list[MeasureCurve]:
    """The curves by which the archive shows a run."""
    return _curves(record, (TABLE[name] for name in ARCHIVED if name in TABLE))


def _curves(record: RunRecord, measures: Iterable[Measure]) -> list[MeasureCurve]:
    curves = []
    for measure in measures:
        values = ((numbers.iteration, numbers.values.get(measure.name)) for numbers in record.measures)
        points = tuple((iteration, value) for iteration, value in values if value is not None)
        if points:
            curves.append(MeasureCurve(measure, points))
    return curves
