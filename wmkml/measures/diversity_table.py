"""The measures of a prompt's answers, for `wmkml analyse`: names, meanings, sources, and where they go as answers grow alike.

Their functions are imported when they are called, as those of `registry.py`; unlike these they are shown in the
laboratory's analyses alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wmkml.measures.measure import OWN, Direction
from wmkml.measures.registry import LI

DiversityFunction = Callable[[Sequence[str]], float | None]
"""From the answers to one prompt to a number; None where there is nothing to measure."""

VENDI = "Friedman and Dieng 2023, The Vendi Score"
HILL = "Leinster and Cobbold 2012, Measuring diversity: the importance of species similarity"
OMAHONY = "O'Mahony et al. 2024, Attributing Mode Collapse in the Fine-Tuning of Large Language Models"
SHAIB = "Shaib et al. 2024, Standardizing the Measurement of Text Diversity"


@dataclass(frozen=True)
class DiversityMeasure:
    """One row.

    Attributes:
        name: as in files and columns.
        meaning: what it is, in a few words.
        direction: where it goes as the answers grow alike.
        source: who defined it.
        function: `module:function`.
        of_meaning: it needs embeddings, which not every language and installation has (`embeddings.why_not_measured`).
    """

    name: str
    meaning: str
    direction: Direction
    source: str
    function: str
    of_meaning: bool = False

    def __call__(self, texts: Sequence[str]) -> float | None:
        """The measure of the answers to one prompt."""
        module, _, name = self.function.partition(":")
        function: DiversityFunction = getattr(importlib.import_module(module), name)
        return function(texts)


def _row(
    name: str, meaning: str, direction: Direction, source: str, module: str = "diversity", function: str = ""
) -> DiversityMeasure:
    path = f"wmkml.measures.{module}:{function or name}"
    return DiversityMeasure(name, meaning, direction, source, path, of_meaning=module == "embeddings")


DIVERSITY: Mapping[str, DiversityMeasure] = {
    row.name: row
    for row in (
        _row(
            "self_bleu", "BLEU against all other answers", "rises", "Zhu et al. 2018, Texygen; nltk, smoothing method 1"
        ),
        _row(
            "ncd",
            "compression distance of two answers",
            "falls",
            "Li et al. 2004, The Similarity Metric; gzip, level 9",
        ),
        _row("jaccard_2", "pairs of words that two answers share", "rises", OMAHONY),
        _row("jaccard_3", "triples of words that two answers share", "rises", OMAHONY),
        _row("jaccard_4", "4-grams of words that two answers share", "rises", OMAHONY),
        _row("vendi_jaccard_2", "number of different answers, by shared pairs of words", "falls", VENDI),
        _row("vendi", "number of different answers, by cosine of counted 1- to 4-grams", "falls", VENDI),
        _row("hill_0", "number of different answers, order 0, by the same similarity", "falls", HILL),
        _row("hill_1", "number of different answers, order 1, by the same similarity", "falls", HILL),
        _row("hill_2", "number of different answers, order 2, by the same similarity", "falls", HILL),
        _row("hill_inf", "number of different answers, infinite order, by the same similarity", "falls", HILL),
        _row(
            "vendi_embeddings",
            "number of different answers, by cosine of sentence embeddings (English)",
            "falls",
            f"{VENDI}; wordllama's embeddings",
            "embeddings",
        ),
        _row("hill_0_embeddings", "number of different answers, order 0, by embeddings", "falls", HILL, "embeddings"),
        _row("hill_1_embeddings", "number of different answers, order 1, by embeddings", "falls", HILL, "embeddings"),
        _row("hill_2_embeddings", "number of different answers, order 2, by embeddings", "falls", HILL, "embeddings"),
        _row(
            "hill_inf_embeddings",
            "number of different answers, infinite order, by embeddings",
            "falls",
            HILL,
            "embeddings",
        ),
        _row("compression_gain_answer", "what an answer gains by compression with the others", "rises", OMAHONY),
        _row("compression_gain_set", "what the others gain by compression with an answer", "rises", OMAHONY),
        _row("compression_ratio", "size of the answers over their size compressed", "rises", SHAIB, "texts"),
        _row("distinct_1", "different words among all words", "falls", LI, function="measured_distinct_1"),
        _row("distinct_2", "different pairs of words", "falls", LI, function="measured_distinct_2"),
        _row("distinct_3", "different triples of words", "falls", LI, function="measured_distinct_3"),
        _row("distinct_4", "different 4-grams of words", "falls", LI, function="measured_distinct_4"),
        _row(
            "self_repetition",
            "4-grams of words that occur in more than one answer",
            "rises",
            "after Salkar et al. 2022, Self-Repetition in Abstractive Neural Summarizers",
            "texts",
        ),
        _row("clusters", "clusters of answers, linked from a Jaccard-2 of 0.5", "falls", OWN),
        _row("share_empty", "answers without a word", "either", OWN),
        _row("share_too_short", "answers below four words, the empty ones among them", "either", OWN),
        _row("mean_length", "mean length of an answer, words", "either", OWN),
    )
}
"""Every measure of a prompt's answers, in the order of tables and figures."""

FACT_ACCURACY = DiversityMeasure(
    "fact_accuracy",
    "answers that state the expected fact in their first two sentences",
    "either",
    OWN,
    "wmkml.measures.facts:fact_accuracy",
)
"""Measured where the prompts name what is expected; its function takes that too."""

SHOWN: Mapping[str, DiversityMeasure] = {**DIVERSITY, FACT_ACCURACY.name: FACT_ACCURACY}
"""All rows of tables and figures."""
