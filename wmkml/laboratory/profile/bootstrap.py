"""Intervals by bootstrap over seeds: how far other seeds might have led."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 5000
LEVEL = 0.95


@dataclass(frozen=True)
class SeedEstimate:
    """A mean over seeds with its interval; `low` and `high` are None below two seeds."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        return self.text()

    def text(self, *, share: bool = False) -> str:
        """As "0.312 [0.290, 0.335]"; a share in per cent."""
        scale, digits, unit = (100, 1, " %") if share else (1, 3, "")
        if self.low is None or self.high is None:
            return f"{scale * self.mean:.{digits}f}{unit}"
        return f"{scale * self.mean:.{digits}f}{unit} [{scale * self.low:.{digits}f}, {scale * self.high:.{digits}f}]"


def estimate(values: Sequence[float] | NDArray[np.float64], resamples: int = RESAMPLES) -> SeedEstimate | None:
    """The mean of one value for each seed, with the percentile interval of the resampled means; None without values.

    The draws are the same for every call with as many values, so that measures of the same seeds compare.  With a handful
    of seeds such an interval is too narrow rather than too wide: it cannot leave the range of what was seen.
    """
    import numpy as np

    seen = np.asarray(values, dtype=float)
    if not len(seen):
        return None
    mean = float(seen.mean())
    if len(seen) < 2:
        return SeedEstimate(mean, None, None, len(seen))
    drawn = np.random.default_rng(0).integers(0, len(seen), (resamples, len(seen)))
    low, high = np.quantile(seen[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return SeedEstimate(mean, float(low), float(high), len(seen))


def finite(values: Sequence[float | None]) -> list[float]:
    """The values that are there and finite."""
    return [value for value in values if value is not None and math.isfinite(value)]
