"""A linear regression that is taught on its own predictions, generation after generation: arithmetic, and a simulation.

Truth is y = x·w + noise of variance s², x of d independent standard normal entries.  Each generation meets T new inputs,
labels them by the generation before with new noise, and fits by least squares (Gerstgrasser et al. 2024, "Is Model
Collapse Inevitable?"; Dohmatob et al. 2024, "Model Collapse Demystified").  The error is |w_k − w|², the expected squared
error of predictions beyond the noise.

Replacing: w_k = w_{k−1} + independent noise, each of expected size e = s²d/(T − d − 1), so the error after k fits is k·e.
Accumulating: w_k = w_{k−1} + S_k⁻¹X_kᵀε with S_k of all kT inputs, which adds s²d/(k(kT − d − 1)).  That is at most e/k²,
so the error stays below e·π²/6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

BOUND = math.pi**2 / 6
"""Σ 1/k²: what accumulating stays under, in errors of one generation."""


def one_generation(samples: int, dimensions: int) -> float:
    """The expected error of one fit, with noise of variance 1; `samples` must exceed `dimensions` by 2."""
    return dimensions / (samples - dimensions - 1)


def expected_replacing(samples: int, dimensions: int, generations: int) -> list[float]:
    """The expected error after 1, 2, … fits, in errors of one generation: 1, 2, …"""
    return [float(k) for k in range(1, generations + 1)]


def expected_accumulating(samples: int, dimensions: int, generations: int) -> list[float]:
    """The expected error after 1, 2, … fits where pairs accumulate, in errors of one generation."""
    values, error = [], 0.0
    for k in range(1, generations + 1):
        error += dimensions / (k * (k * samples - dimensions - 1))
        values.append(error / one_generation(samples, dimensions))
    return values


def simulate(samples: int, dimensions: int, generations: int, lineages: int, seed: int, *, accumulate: bool) -> Matrix:
    """The errors, lineages × generations, in expected errors of one generation."""
    import numpy as np

    source = np.random.default_rng(seed)
    # The truth is w = 0 without loss of generality: only the distance from it is measured.
    weights = np.zeros((lineages, dimensions))
    errors = np.empty((lineages, generations))
    gram, moment = np.zeros((lineages, dimensions, dimensions)), np.zeros((lineages, dimensions))
    for k in range(generations):
        inputs = source.standard_normal((lineages, samples, dimensions))
        labels = np.einsum("lsd,ld->ls", inputs, weights) + source.standard_normal((lineages, samples))
        if not accumulate:
            gram, moment = np.zeros_like(gram), np.zeros_like(moment)
        gram = gram + inputs.transpose(0, 2, 1) @ inputs
        moment = moment + np.einsum("lsd,ls->ld", inputs, labels)
        weights = np.linalg.solve(gram, moment[..., None])[..., 0]
        errors[:, k] = (weights * weights).sum(axis=1)
    return errors / one_generation(samples, dimensions)
