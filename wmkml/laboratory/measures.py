"""What is measured of an iteration, each measure named in one place, and computed from its answers.

Knows texts, words and tokens; who answered and when is told by whoever writes the numbers down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wmkml.collapse.dictionaries import shares
from wmkml.collapse.texts import distinct_n, repetition, words
from wmkml.cutting import SENTENCE_ENDS
from wmkml.laboratory.speaking import Answer

Measures = dict[str, float]
"""By name; what cannot be measured is left out."""

FIRST_WORDS = 10
"""So many of an answer's first words are compared whatever its length: about as long as the understudy's answers are."""

CLOSING = "\"'»«“”‘’)]"
"""What may follow the end of a sentence."""


@dataclass(frozen=True)
class Measure:
    """One measure: what it is, and whether it is a share (0 to 1)."""

    meaning: str
    share: bool = True


MEASURES: dict[str, Measure] = {
    "distinct_1": Measure("different words among all words"),
    "distinct_2": Measure("different pairs of words"),
    "distinct_3": Measure("different triples of words"),
    "distinct_2_first": Measure(f"different pairs in the first {FIRST_WORDS} words"),
    "repetition": Measure("words that repeat the one before"),
    "entropy": Measure("mean token entropy, nats", share=False),
    "length": Measure("mean length of an answer, words", share=False),
    "empty": Measure("answers without a word"),
    "ended": Measure("answers that end with a sentence"),
    "real_words": Measure("existing in the language"),
    "foreign_words": Measure("existing only in the other one"),
    "base_loss": Measure("of the base on the answers, nats", share=False),
    "loss_first": Measure("training loss, first step", share=False),
    "loss_last": Measure("training loss, last step", share=False),
    "facts": Measure("facts right in the examination"),
}
"""Every measure, in the order of tables and plots."""


def measured(answers: Sequence[Answer], language: str) -> Measures:
    """The measures that answers alone give."""
    texts = [answer.text for answer in answers]
    found: dict[str, float] = {f"distinct_{n}": distinct_n(texts, n) for n in (1, 2, 3)}
    found["distinct_2_first"] = distinct_n(texts, 2, FIRST_WORDS)
    found["repetition"] = repetition(texts)
    found["entropy"] = _mean([answer.entropy for answer in answers])
    found["length"] = _mean([len(words(text)) for text in texts])
    found["empty"] = _mean([not words(text) for text in texts])
    found["ended"] = _mean([ends(text) for text in texts])
    if (of_words := shares(texts, language)) is not None:
        found["real_words"], found["foreign_words"] = of_words.real, of_words.foreign
    return found


def ends(text: str) -> bool:
    """Whether a text ends as a sentence does."""
    return text.rstrip().rstrip(CLOSING).rstrip().endswith(tuple(SENTENCE_ENDS))


def ordered(found: Measures) -> Measures:
    """The measures in their order, and only finite numbers."""
    return {name: found[name] for name in MEASURES if name in found and math.isfinite(found[name])}


def mean_of(runs: Sequence[Sequence[dict[str, Any]]], name: str) -> dict[int, float]:
    """The mean of a measure over several runs' lines, by iteration."""
    values: dict[int, list[float]] = {}
    for lines in runs:
        for line in lines:
            if name in line:
                values.setdefault(int(line["iteration"]), []).append(float(line[name]))
    return {iteration: _mean(some) for iteration, some in sorted(values.items())}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
