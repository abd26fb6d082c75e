"""A Gaussian that is fitted to its own samples, generation after generation: arithmetic, checked by simulation.

Each generation estimates mean and variance by maximum likelihood (1/n in the variance) and writes n samples.

Replacing: generation t sees the n samples of generation t − 1 alone.  Given the fit before, the sample variance has the
expectation σ²(1 − 1/n), so after t fits E σ²ₜ = σ²(1 − 1/n)ᵗ, which goes to 0 (Shumailov et al. 2024, "AI models collapse
when trained on recursively generated data", show that the variance vanishes; the closed form is the textbook's).

Accumulating: generation t sees all t·n samples.  The pooled variance loses the factor 1 − 1/(n t²) in expectation, and
the product of all of them converges: E σ²ₜ → σ² sin(π/√n)/(π/√n) (Kazdan et al. 2024, "Collapse or Thrive?"; Euler's
product of the sine).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


def expected_replacing(n: int, generations: int) -> list[float]:
    """E σ²ₜ / σ² after 1, 2, … fits on n samples each."""
    return [(1 - 1 / n) ** t for t in range(1, generations + 1)]


def expected_accumulating(n: int, generations: int) -> list[float]:
    """E σ²ₜ / σ² after 1, 2, … fits on n, 2n, … samples."""
    values, product = [], 1.0
    for t in range(1, generations + 1):
        product *= 1 - 1 / (n * t * t)
        values.append(product)
    return values


def limit_accumulating(n: int) -> float:
    """What E σ²ₜ / σ² converges to where samples accumulate."""
    angle = math.pi / math.sqrt(n)
    return math.sin(angle) / angle


def simulate(n: int, generations: int, lineages: int, seed: int, *, accumulate: bool) -> Matrix:
    """The fitted variances, lineages × generations, of Gaussians that begin with mean 0 and variance 1."""
    import numpy as np

    source = np.random.default_rng(seed)
    mean, variance = np.zeros(lineages), np.ones(lineages)
    fitted = np.empty((lineages, generations))
    count, total, squares = 0, np.zeros(lineages), np.zeros(lineages)
    for t in range(generations):
        samples = mean[:, None] + np.sqrt(variance)[:, None] * source.standard_normal((lineages, n))
        if not accumulate:
            count, total, squares = 0, np.zeros(lineages), np.zeros(lineages)
        count += n
        total += samples.sum(axis=1)
        squares += (samples * samples).sum(axis=1)
        mean = total / count
        # Sums of squares lose digits only where the variance is far below the squared mean.
        variance = np.maximum(squares / count - mean * mean, 0.0)
        fitted[:, t] = variance
    return fitted
