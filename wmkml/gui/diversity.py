"""How varied the language is, iteration by iteration, measured from the answers and tokens that pass.  Pure; no widget.

Only what passed while somebody listened counts: a window that opens in the middle of a run knows nothing of before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wmkml.collapse.texts import distinct_n, repetition

NEWEST = 40
"""So many of an iteration's newest answers are measured: distinct word pairs fall with the mere number of answers."""


@dataclass(frozen=True)
class Measures:
    """Of one iteration: shares from 0 to 1, and the mean token entropy in nats; none where nothing passed."""

    distinct_2: float | None
    repetition: float | None
    entropy: float | None


@dataclass(frozen=True)
class Diversity:
    """What passed so far, by iteration."""

    answers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    entropies: Mapping[int, tuple[float, int]] = field(default_factory=dict)

    def with_token(self, iteration: int, entropy: float) -> Diversity:
        """One more token; an entropy that is no number is none."""
        if not math.isfinite(entropy):
            return self
        total, count = self.entropies.get(iteration, (0.0, 0))
        return replace(self, entropies={**self.entropies, iteration: (total + entropy, count + 1)})

    def with_answer(self, iteration: int, text: str) -> Diversity:
        """One more complete answer."""
        newest = (*self.answers.get(iteration, ()), text)[-NEWEST:]
        return replace(self, answers={**self.answers, iteration: newest})

    def measures(self) -> dict[int, Measures]:
        """The measures of every iteration of which something passed, the oldest first."""
        return {iteration: self.of(iteration) for iteration in sorted({*self.answers, *self.entropies})}

    def of(self, iteration: int) -> Measures:
        """The measures of one iteration."""
        texts = self.answers.get(iteration)
        total, count = self.entropies.get(iteration, (0.0, 0))
        return Measures(
            distinct_2=distinct_n(texts) if texts else None,
            repetition=repetition(texts) if texts else None,
            entropy=total / count if count else None,
        )


def line(values: Mapping[int, float | None], total: int, top: float) -> list[tuple[float, float]]:
    """Values by iteration as points from 0 to 1: the base model at the left, the last of `total` at the right."""
    ceiling = max(top, *(value for value in values.values() if value is not None), top)
    return [
        (min(1.0, (iteration + 1) / max(1, total)), max(0.0, value) / ceiling)
        for iteration, value in sorted(values.items())
        if value is not None
    ]
