"""The reproductions that are arithmetic: Gaussian and regression, simulated in numpy beside their formulas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wmkml.laboratory.profile.bootstrap import SeedEstimate
from wmkml.laboratory.reproductions import gaussian, regression
from wmkml.laboratory.reproductions.results import Curve, Finding, ReproductionResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STANDARD_ERRORS = 4.0
"""A simulated mean agrees with its formula within so many standard errors: by chance it leaves them once in 16,000."""

NORMAL_95 = 1.96

SHUMAILOV = "Shumailov et al. 2024, AI models collapse when trained on recursively generated data"
KAZDAN = "Kazdan et al. 2024, Collapse or Thrive? Perils and Promises of Synthetic Data in a Self-Generating World"
GERSTGRASSER = "Gerstgrasser et al. 2024, Is Model Collapse Inevitable? Breaking the Curse of Recursion"
DOHMATOB = "Dohmatob et al. 2024, Model Collapse Demystified: The Case of Regression"


def reproduce_gaussian(
    samples: int = 10, generations: int = 20, lineages: int = 20_000, seed: int = 1
) -> ReproductionResult:
    """Fit a Gaussian to its own samples, replacing and accumulating them, in many lineages at once (under a second)."""
    curves, findings = [], []
    for accumulate, condition in ((False, "replace"), (True, "accumulate")):
        expected = (gaussian.expected_accumulating if accumulate else gaussian.expected_replacing)(samples, generations)
        simulated = gaussian.simulate(samples, generations, lineages, seed, accumulate=accumulate)
        curves += _curves("variance", condition, expected, simulated)
        last = _estimate(simulated[:, -1])
        findings.append(
            Finding(
                f"Where samples accumulate, the variance after {generations} fits is ∏ (1 − 1/(n t²)) of the first"
                if accumulate
                else f"Where samples are replaced, the variance after {generations} fits is (1 − 1/n)^t of the first",
                KAZDAN if accumulate else SHUMAILOV,
                f"{expected[-1]:.4f}",
                last.text(),
                _agrees(expected, simulated),
            )
        )
    limit = gaussian.limit_accumulating(samples)
    # What is still to come after the last generation, Σ 1/(n t²), is known: it is taken off before comparing.
    rest = limit / gaussian.expected_accumulating(samples, generations)[-1]
    projected = [rest * value for value in gaussian.expected_accumulating(samples, generations)[-1:]]
    found_last = rest * gaussian.simulate(samples, generations, lineages, seed, accumulate=True)[:, -1:]
    findings.append(
        Finding(
            "Where samples accumulate, the variance does not vanish: it goes to sin(π/√n)/(π/√n) of the first",
            KAZDAN,
            f"{limit:.4f}",
            f"{_estimate(found_last[:, 0]).text()}, taken on from generation {generations} to infinity",
            _agrees(projected, found_last),
        )
    )
    return ReproductionResult(
        "gaussian",
        "A Gaussian fitted to its own samples",
        f"numpy: n = {samples} samples a generation, {generations} generations, {lineages} lineages; variance by maximum "
        "likelihood, in parts of the first.",
        findings,
        curves,
    )


def reproduce_regression(
    samples: int = 80, dimensions: int = 20, generations: int = 15, lineages: int = 1000, seed: int = 1
) -> ReproductionResult:
    """Teach a linear regression on its own predictions, replacing and accumulating pairs (some two seconds)."""
    size = (samples, dimensions, generations)
    curves, last = [], {}
    agreements: dict[str, bool | None] = {}
    for accumulate, condition in ((False, "replace"), (True, "accumulate")):
        expected = (regression.expected_accumulating if accumulate else regression.expected_replacing)(*size)
        simulated = regression.simulate(*size, lineages, seed, accumulate=accumulate)
        curves += _curves("error", condition, expected, simulated)
        last[condition], agreements[condition] = _estimate(simulated[:, -1]), _agrees(expected, simulated)
    high = last["accumulate"].high
    assert high is not None
    findings = [
        Finding(
            f"Where pairs are replaced, the error grows by the same amount with every generation: after {generations}",
            f"{GERSTGRASSER}; {DOHMATOB}",
            f"{generations} errors of one generation",
            last["replace"].text(),
            agreements["replace"],
        ),
        Finding(
            "Where pairs accumulate, the error stays under π²/6 errors of one generation for ever",
            GERSTGRASSER,
            f"below {regression.BOUND:.3f}",
            last["accumulate"].text(),
            high < regression.BOUND,
        ),
        Finding(
            "Where pairs accumulate, generation k adds d/(k(kT − d − 1)) to the error",
            "this page's formula; its bound is Gerstgrasser et al.'s",
            f"{regression.expected_accumulating(*size)[-1]:.4f}",
            last["accumulate"].text(),
            agreements["accumulate"],
        ),
    ]
    return ReproductionResult(
        "regression",
        "A linear regression taught on its own predictions",
        f"numpy: T = {samples} new inputs of d = {dimensions} entries a generation, noise of variance 1, {generations} "
        f"generations, {lineages} lineages; errors in those of one generation, d/(T − d − 1).",
        findings,
        curves,
    )


def _curves(measure: str, condition: str, expected: list[float], simulated: NDArray[np.float64]) -> list[Curve]:
    formula = tuple((t, SeedEstimate(value, None, None, 0)) for t, value in enumerate(expected, 1))
    points = tuple((t + 1, _estimate(simulated[:, t])) for t in range(simulated.shape[1]))
    return [Curve(measure, condition, "expected", formula), Curve(measure, condition, "found", points)]


def _estimate(values: NDArray[np.float64]) -> SeedEstimate:
    """The mean over lineages with its 95 % interval by the normal approximation: there are thousands."""
    mean, half = float(values.mean()), NORMAL_95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return SeedEstimate(mean, mean - half, mean + half, len(values))


def _agrees(expected: list[float], simulated: NDArray[np.float64]) -> bool:
    """Whether the mean of every generation is within STANDARD_ERRORS of its formula."""
    errors = simulated.std(axis=0, ddof=1) / math.sqrt(len(simulated))
    return bool((abs(simulated.mean(axis=0) - expected) <= STANDARD_ERRORS * errors).all())
