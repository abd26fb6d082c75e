"""One iteration measured in the laboratory: the measures that `wmkml.measures.registry` names for it, as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from wmkml.laboratory.generation import GeneratedAnswer
from wmkml.measures import registry
from wmkml.measures.dictionaries import word_shares
from wmkml.measures.embeddings import meaning_spread, why_not_measured
from wmkml.measures.measure import Measure
from wmkml.measures.registry import shown_in

Measures = dict[str, float]
"""Values by the measure's name; a measure that cannot be computed is left out."""

MEASURES: Mapping[str, Measure] = {measure.name: measure for measure in shown_in("laboratory")}
"""Every measure of the laboratory, in the order of tables and plots."""


def measure_answers(answers: Sequence[GeneratedAnswer], language: str) -> Measures:
    """The measures that answers alone give."""
    texts, entropies = [answer.text for answer in answers], [answer.entropy for answer in answers]
    measures: Measures = registry.measure_answers("laboratory", texts, entropies)
    if (of_words := word_shares(texts, language)) is not None:
        measures["real_words"], measures["foreign_words"] = of_words.real, of_words.foreign
    if not why_not_measured(language) and (spread := meaning_spread(texts)) is not None:
        measures["meaning_spread"] = spread
    return measures


def finite_in_order(measures: Measures) -> Measures:
    """The finite values, in the order of MEASURES."""
    return {name: measures[name] for name in MEASURES if name in measures and math.isfinite(measures[name])}


def mean_by_iteration(runs: Sequence[Sequence[dict[str, Any]]], name: str) -> dict[int, float]:
    """The mean of a measure over several runs' lines, by iteration."""
    values: dict[int, list[float]] = {}
    for lines in runs:
        for line in lines:
            if name in line:
                values.setdefault(int(line["iteration"]), []).append(float(line[name]))
    return {iteration: _mean(seeds) for iteration, seeds in sorted(values.items())}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
