"""How diverse labelled models' answers are: every measure per prompt and temperature, then averaged, with intervals.

A measure's mean is that over prompts of each prompt's mean over its temperatures.  Its interval is a percentile
bootstrap over prompts, since the answers to one prompt are not independent of each other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.analysis.answers import AnswerSet
from wmkml.measures.diversity import CLUSTER_THRESHOLD, clusters
from wmkml.measures.diversity_table import DIVERSITY, FACT_ACCURACY, SHOWN
from wmkml.measures.embeddings import why_not_measured
from wmkml.measures.facts import fact_accuracy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 5000
CONFIDENCE = 0.95
SEED = 0

OnMeasured = Callable[[str, int, int], None]
"""Called after every set of answers with the label, how many sets are measured, and how many there are."""


@dataclass(frozen=True)
class DiversityOptions:
    """How answers are measured.

    Attributes:
        max_num_words: answers are cut after so many words; None: not at all.
        cluster_threshold: Jaccard similarity of pairs of words, 0 to 1, from which two answers are linked.
    """

    max_num_words: int | None = None
    cluster_threshold: float = CLUSTER_THRESHOLD


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts.

    Attributes:
        mean: None where no prompt could be measured.
        low: the lower end of the 95 % interval; None below two prompts.
        high: its upper end.
        n: how many prompts were measured.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}


def output_diversity(
    labelled: Mapping[str, Sequence[AnswerSet]],
    options: DiversityOptions | None = None,
    on_measured: OnMeasured = lambda label, done, total: None,
) -> dict[str, Any]:
    """Measure labelled answers.

    Args:
        labelled: answers by label, as `read_answers` gives them.

    Returns:
        `{"labels": {LABEL: {KIND: {MEASURE: {"mean", "low", "high", "n", "by_temperature": {TEMPERATURE: {…}}}}}}}`,
        where the innermost has mean, low, high and n; temperatures ascend.  A measure that this language or installation
        does not have also has `not_measured`, the reason.  `fact_accuracy` is there where answers are expected.  Beside
        `labels` stand the `options`, as JSON has them.
    """
    chosen = options or DiversityOptions()
    labels = {label: _label(label, sets, chosen, on_measured) for label, sets in labelled.items()}
    return {"labels": labels, "options": asdict(chosen)}


def meaning_in(result: Mapping[str, Any], name: str) -> str:
    """What a measure is, in a few words, with the threshold that this result was made with."""
    meaning = SHOWN[name].meaning
    if name != "clusters":
        return meaning
    threshold = result.get("options", {}).get("cluster_threshold", CLUSTER_THRESHOLD)
    return meaning.replace(f"{CLUSTER_THRESHOLD:g}", f"{threshold:g}")


def measure_set(answer_set: AnswerSet, options: DiversityOptions | None = None) -> dict[str, float]:
    """Every measure of the answers to one prompt at one temperature, cut; what cannot be measured is left out."""
    chosen = options or DiversityOptions()
    answers = answer_set.cut(chosen.max_num_words).answers
    without_meaning = bool(why_not_measured(answer_set.language))
    values = {
        name: clusters(answers, chosen.cluster_threshold) if name == "clusters" else measure(answers)
        for name, measure in DIVERSITY.items()
        if not (measure.of_meaning and without_meaning)
    }
    values[FACT_ACCURACY.name] = fact_accuracy(answers, answer_set.expected)
    return {name: value for name, value in values.items() if value is not None}


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of these values, one for each prompt, with its 95 % interval."""
    import numpy as np

    if not values:
        return Estimate(None, None, None, 0)
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < 2:
        return Estimate(float(numbers.mean()), None, None, len(numbers))
    means = numbers[_resamples(len(numbers))].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(numbers.mean()), float(low), float(high), len(numbers))


@functools.lru_cache(maxsize=8)
def _resamples(count: int) -> NDArray[np.int64]:
    """RESAMPLES draws of `count` prompts with replacement; the same for every measure and label, so that these compare."""
    import numpy as np

    return np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))


def _label(label: str, sets: Sequence[AnswerSet], options: DiversityOptions, on_measured: OnMeasured) -> dict[str, Any]:
    measured: dict[str, list[tuple[AnswerSet, dict[str, float]]]] = {}
    for done, answer_set in enumerate(sets, 1):
        measured.setdefault(answer_set.kind, []).append((answer_set, measure_set(answer_set, options)))
        on_measured(label, done, len(sets))
    return {kind: _kind(of_kind) for kind, of_kind in measured.items()}


def _kind(measured: Sequence[tuple[AnswerSet, dict[str, float]]]) -> dict[str, Any]:
    names = [*DIVERSITY, *([FACT_ACCURACY.name] if any(answers.expected for answers, _ in measured) else [])]
    results = {name: _averaged([(answers, values.get(name)) for answers, values in measured]) for name in names}
    reasons = {why_not_measured(answers.language): None for answers, _ in measured}
    for name, measure in DIVERSITY.items():
        if measure.of_meaning and any(reasons):
            results[name]["not_measured"] = "; ".join(reason for reason in reasons if reason)
    return results


def _averaged(values: Sequence[tuple[AnswerSet, float | None]]) -> dict[str, Any]:
    by_prompt: dict[str, list[float]] = {}
    by_temperature: dict[str, list[float]] = {
        temperature: [] for temperature in sorted({answers.temperature for answers, _ in values}, key=temperature_order)
    }
    for answers, value in values:
        if value is not None:
            by_prompt.setdefault(answers.prompt, []).append(value)
            by_temperature[answers.temperature].append(value)
    means = [sum(of_prompt) / len(of_prompt) for of_prompt in by_prompt.values()]
    return {
        **estimate(means).as_dict(),
        "by_temperature": {
            temperature: estimate(of_prompts).as_dict() for temperature, of_prompts in by_temperature.items()
        },
    }


def temperature_order(temperature: str) -> tuple[bool, float]:
    """For sorting: temperatures ascend, an unknown one stands last."""
    try:
        return False, float(temperature)
    except ValueError:
        return True, 0.0
