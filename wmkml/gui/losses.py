"""The losses of a run as they come in, by round and step, and their line.  Pure; knows no widget."""

from __future__ import annotations

import math
from collections.abc import Iterable

from wmkml.wire import RoundRecord

Losses = dict[tuple[int, int], float]
"""Loss by (iteration, step)."""


def gathered(seen: Losses, rounds: Iterable[RoundRecord]) -> Losses:
    """What was seen and what these rounds add; of a round never looked at, its first and last loss."""
    found = dict(seen)
    watched = {iteration for iteration, _ in seen}
    for one in rounds:
        points = {}
        if one.iteration not in watched:
            points = {1: one.loss_first, max(2, one.steps): one.loss_last}
        if one.step > 0:
            points[one.step] = one.loss
        for step, loss in points.items():
            if loss is not None and math.isfinite(loss):
                found[one.iteration, step] = loss
    return found


def line(losses: Losses) -> list[tuple[float, float]]:
    """The losses, oldest first, from 0 to 1 across and up, the greatest loss at 1.  Empty for fewer than two."""
    values = [loss for _, loss in sorted(losses.items())]
    if len(values) < 2:
        return []
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return [(index / (len(values) - 1), (value - low) / span) for index, value in enumerate(values)]
