"""From sums over a corpus to numbers with standard errors: of every file, of all together, and their mean over files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wmkml.laboratory.analysis.next_token.sums import RatioSums, TokenSums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # It brings torch, which tables and figures do without.
    from wmkml.laboratory.analysis.next_token.measuring import CorpusSums, NextTokenOptions

    Numbers = NDArray[np.float64]

MASSES = (0.7, 0.9)
"""Shares of the probability for which it is told how much of the vocabulary holds them."""

MICRO, MACRO = "micro", "macro"
"""All files together, each document by its length; the mean over files, each weighing the same."""


@dataclass(frozen=True)
class NextTokenMeasure:
    """A row of tables.

    Attributes:
        meaning: in a few words, with its unit.
        direction: where it goes as the model becomes more certain of fewer words.
    """

    meaning: str
    direction: str


MEASURES: Mapping[str, NextTokenMeasure] = {
    "entropy": NextTokenMeasure("entropy of the next token, nats", "falls"),
    "log_probability": NextTokenMeasure("log-probability of the text's tokens, nats", "either"),
    "perplexity_token": NextTokenMeasure("perplexity per token", "either"),
    "perplexity_word": NextTokenMeasure(r"perplexity per word (split at \s+)", "either"),
    "bits_per_byte": NextTokenMeasure("bits per byte of UTF-8", "either"),
    "top_1_confidence": NextTokenMeasure("probability of the likeliest token", "rises"),
    "vocabulary_share_70": NextTokenMeasure("share of the vocabulary that holds 70 % of the probability", "falls"),
    "vocabulary_share_90": NextTokenMeasure("share of the vocabulary that holds 90 % of the probability", "falls"),
}
"""Every number of a model on a corpus, in the order of tables."""


def next_token_result(corpus: CorpusSums, options: NextTokenOptions, vocabulary: int) -> dict[str, Any]:
    """The numbers of one model.

    Returns:
        `{"window", "stride", "vocabulary", "files": {FILE: scope}, "micro": scope, "macro": scope}`, each scope with
        `measures: {NAME: {"value", "error"}}`, `ranks: {"probability", "probability_error", "cumulative",
        "cumulative_error"}` (a number for every rank, likeliest first) and `positions: {"entropy", "entropy_error",
        "log_probability", "log_probability_error"}` (for every position in the window); files and micro also with
        `documents`, `refused`, `tokens`, `words`, `bytes` and `log_probability_sum`.  What is not known is None.
    """
    together = TokenSums(vocabulary, options.window)
    files: dict[str, Any] = {}
    for name, sums in corpus.files.items():
        progress = corpus.progress[name]
        files[name] = {
            "documents": progress.documents,
            "refused": progress.refused,
            "first_refusal": progress.first_refusal,
            **_scope(sums),
        }
        together.merge(sums)
    micro = {
        "documents": sum(scope["documents"] for scope in files.values()),
        "refused": sum(scope["refused"] for scope in files.values()),
        **_scope(together),
    }
    return {
        **asdict(options),
        "vocabulary": vocabulary,
        "files": files,
        MICRO: micro,
        MACRO: _macro(list(files.values())),
    }


def _scope(sums: TokenSums) -> dict[str, Any]:
    log_probability, per_word, per_byte = (_pair(part) for part in (sums.log_probability, sums.per_word, sums.per_byte))
    measures = {
        "entropy": _pair(sums.entropy),
        "log_probability": log_probability,
        "perplexity_token": _perplexity(*log_probability),
        "perplexity_word": _perplexity(*per_word),
        "bits_per_byte": (-per_byte[0] / math.log(2), per_byte[1] / math.log(2)),
        "top_1_confidence": _pair(sums.top_1),
    }
    for mass in MASSES:
        measures[f"vocabulary_share_{100 * mass:.0f}"] = _vocabulary_share(sums, mass)
    return {
        "tokens": int(sums.log_probability.b),
        "words": int(sums.per_word.b),
        "bytes": int(sums.per_byte.b),
        "log_probability_sum": float(sums.log_probability.a),
        "measures": {
            name: {"value": _known(value), "error": _known(error)} for name, (value, error) in measures.items()
        },
        "ranks": _curves(probability=sums.ranks, cumulative=sums.cumulative),
        "positions": _curves(entropy=sums.position_entropy, log_probability=sums.position_log_probability),
    }


def _pair(sums: RatioSums) -> tuple[float, float]:
    return float(sums.ratio()), float(sums.error())


def _perplexity(mean: float, error: float) -> tuple[float, float]:
    """From a mean log-probability; its error by the delta method."""
    value = math.exp(min(-mean, 700.0))
    return value, value * error


def _vocabulary_share(sums: TokenSums, mass: float) -> tuple[float, float]:
    """The smallest share of ranks whose mean probabilities reach `mass`, interpolated within the last rank.

    Its error by the delta method: that of the cumulative curve there, over the curve's slope, which is the probability of
    that rank.
    """
    cumulative, probability = sums.cumulative.ratio(), sums.ranks.ratio()
    size = len(probability)
    index = min(int(np.searchsorted(cumulative, mass)), size - 1)
    before = float(cumulative[index - 1]) if index else 0.0
    slope = float(probability[index])
    if not slope > 0.0:
        return math.nan, math.nan
    ranks = index + min(1.0, (mass - before) / slope)
    return ranks / size, float(sums.cumulative.error()[index]) / slope / size


def _curves(**curves: RatioSums) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, sums in curves.items():
        values[name] = [_known(number) for number in sums.ratio().tolist()]
        values[f"{name}_error"] = [_known(number) for number in sums.error().tolist()]
    return values


def _macro(scopes: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over files; the errors of independent files, √Σe² / n."""
    measures = {
        name: {
            "value": _mean([scope["measures"][name]["value"] for scope in scopes]),
            "error": _error_of_mean([scope["measures"][name]["error"] for scope in scopes]),
        }
        for name in MEASURES
    }
    return {
        "files": len(scopes),
        "measures": measures,
        **{part: _macro_curves([scope[part] for scope in scopes]) for part in ("ranks", "positions")},
    }


def _macro_curves(curves: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: [
            (_error_of_mean if name.endswith("_error") else _mean)(list(values))
            for values in zip(*(curve[name] for curve in curves), strict=True)
        ]
        for name in curves[0]
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _error_of_mean(errors: list[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return math.sqrt(sum(error**2 for error in known)) / len(known) if len(known) == len(errors) else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
