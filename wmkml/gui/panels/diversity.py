"""How varied the language is, iteration by iteration: measured from the answers and tokens that the window receives, and
what the owner tells of each iteration.

`Diversity` is an immutable value.  A window that opens in the middle of a run has no measures of what came before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wmkml.measures.registry import TABLE, measure_answers
from wmkml.protocol.run_state import IterationMeasures

NEWEST = 40
"""Answers of an iteration that are measured, the newest: distinct-2 falls with the mere number of answers."""


NamedMeasures = Mapping[str, float]
"""The measures of one iteration by name; what cannot be measured yet is left out."""


@dataclass(frozen=True)
class Diversity:
    """What was received so far, by iteration: the newest answers, (sum, count) of token entropies, and measures."""

    answers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    entropies: Mapping[int, tuple[float, int]] = field(default_factory=dict)
    measured: Mapping[int, NamedMeasures] = field(default_factory=dict)
    """What the owner told of an iteration, measured once."""

    def with_token(self, iteration: int, entropy: float) -> Diversity:
        """One more token; an entropy that is not finite is not counted."""
        if not math.isfinite(entropy):
            return self
        total, count = self.entropies.get(iteration, (0.0, 0))
        return replace(self, entropies={**self.entropies, iteration: (total + entropy, count + 1)})

    def with_answer(self, iteration: int, text: str) -> Diversity:
        """One more complete answer."""
        newest = (*self.answers.get(iteration, ()), text)[-NEWEST:]
        return replace(self, answers={**self.answers, iteration: newest})

    def with_measures(self, measured: IterationMeasures) -> Diversity:
        """What the owner tells of an iteration, beside what it told before; what could not be measured is left out."""
        known = self.measured.get(measured.iteration, {})
        values = {name: value for name, value in measured.values.items() if value is not None}
        return replace(self, measured={**self.measured, measured.iteration: {**known, **values}})

    def measures(self) -> dict[int, NamedMeasures]:
        """The measures of every iteration with data, in ascending order."""
        return {
            iteration: self.measures_of(iteration)
            for iteration in sorted({*self.answers, *self.entropies, *self.measured})
        }

    def measures_of(self, iteration: int) -> NamedMeasures:
        """The measures of one iteration."""
        texts = self.answers.get(iteration, ())
        total, count = self.entropies.get(iteration, (0.0, 0))
        values = measure_answers("window", texts, [total / count] if count else [])
        of_answers = {name: value for name, value in values.items() if texts or TABLE[name].of == "tokens"}
        return of_answers | dict(self.measured.get(iteration, {}))


def diversity_points(values: Mapping[int, float], total: int, top: float) -> list[tuple[float, float]]:
    """Values by iteration as points from 0 to 1: the base model at the left, the last of `total` rounds at the right.

    Args:
        top: the value at the upper edge; a greater value raises the edge to itself.
    """
    ceiling = max(top, *values.values(), top)
    return [
        (min(1.0, (iteration + 1) / max(1, total)), max(0.0, value) / ceiling)
        for iteration, value in sorted(values.items())
    ]


def value_text(value: float) -> str:
    """A value with as many digits as tell something: perplexities have hundreds, the margins of a sure model thousandths."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
