"""Measures of the distributions that tokens were drawn from.  Standard library alone."""

from __future__ import annotations

from collections.abc import Sequence


def mean_entropy(entropies: Sequence[float]) -> float | None:
    """The mean of mean token entropies, in nats; None where none is known."""
    return sum(entropies) / len(entropies) if entropies else None
