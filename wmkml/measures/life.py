"""Life: one figure of how much of the newborn language is left, from 1 at birth towards 0 at collapse.

It is the exponential of minus the measure `forgetting`, the mean Kullback-Leibler divergence of iteration −1 from an iteration
on the probe:

    life = exp(−mean over the probe's tokens of Σ p₋₁(w) · ln(p₋₁(w) / pᵢ(w)))

In words: of the probability that the newborn model gave to what it would say next, amid human sentences, the iteration has
this share left, in the geometric mean.  It needs no dictionary and no known facts, has no constant to set, and follows from
the weights alone: the same weights always have the same life, and those of the newborn have exactly 1.
"""

from __future__ import annotations

import math


def life_of(forgetting: float | None) -> float | None:
    """The life of an iteration, 0 to 1; None: not measured.

    Args:
        forgetting: the measure of that name, in nats.  A rounding below 0 counts as 0.
    """
    if forgetting is None or math.isnan(forgetting):
        return None
    return math.exp(-max(0.0, forgetting))
