"""The losses of a run, collected from its round records, and the points of their line."""

from __future__ import annotations

import math
from collections.abc import Iterable

from wmkml.protocol.run_state import RoundRecord

Losses = dict[tuple[int, int], float]
"""Loss by (iteration, step)."""


def merge_losses(known: Losses, records: Iterable[RoundRecord]) -> Losses:
    """The known losses and those in the records; a round not known before also gets its first and last loss."""
    losses = dict(known)
    known_iterations = {iteration for iteration, _ in known}
    for record in records:
        points = {}
        if record.iteration not in known_iterations:
            points = {1: record.loss_first, max(2, record.steps): record.loss_last}
        if record.step > 0:
            points[record.step] = record.loss
        for step, loss in points.items():
            if loss is not None and math.isfinite(loss):
                losses[record.iteration, step] = loss
    return losses


def loss_points(losses: Losses) -> list[tuple[float, float]]:
    """The losses as points from 0 to 1, the first at the left, the greatest at the top; empty for fewer than two."""
    values = [loss for _, loss in sorted(losses.items())]
    if len(values) < 2:
        return []
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return [(index / (len(values) - 1), (value - low) / span) for index, value in enumerate(values)]
