"""Measures of how a collection of answers is worded: how far they lie apart as bags of words, and their sentence frames.

Standard library only, and of any two languages at once: German and English function words are known together.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from wmkml.measures.texts import WORD

OPEN_WORD = "_"
"""What stands in a frame for a word that is no function word."""

FRAME_N = 4
"""Places of the frames' sequences that are compared."""


@functools.cache
def function_words() -> frozenset[str]:
    """Articles, pronouns, prepositions, conjunctions, auxiliaries and particles of German and English, case folded."""
    lists = yaml.safe_load(Path(__file__).with_name("function_words.yaml").read_text(encoding="utf-8"))
    return frozenset(str(word).casefold() for words in lists.values() for word in words.split())


def frame(text: str) -> list[str]:
    """The text's frame: its function words as they are, every other word as OPEN_WORD.

    "The star stands above the sea" and "The fish swims in the lake" differ in words; the frames the _ _ above the _ and
    the _ _ in the _ differ in one place.
    """
    known = function_words()
    return [word if word in known else OPEN_WORD for word in WORD.findall(text.casefold())]


def distinct_frames(texts: Sequence[str]) -> float | None:
    """Share (0 to 1) of distinct sequences of FRAME_N places among all of these texts' frames; None if there are none.

    A stand-in for templates of parts of speech (Shaib et al. 2024, "Detection and Measurement of Syntactic Templates in
    Generated Text"): no parser is needed, and a stammering language with broken grammar is still read.
    """
    frames = [frame(text) for text in texts]
    grams = [tuple(places[start : start + FRAME_N]) for places in frames for start in range(len(places) - FRAME_N + 1)]
    return len(set(grams)) / len(grams) if grams else None


def word_variance(texts: Sequence[str]) -> float | None:
    """The variance (0 to 1) of these texts as vectors of word counts of length 1; None below two texts with a word.

    The mean squared distance from their mean, n − 1 in the denominator: 0 where all say the same words, 1 where no two
    share one.
    """
    counts = [Counter(WORD.findall(text.casefold())) for text in texts]
    vectors = [
        {word: number / sum(value * value for value in of_text.values()) ** 0.5 for word, number in of_text.items()}
        for of_text in counts
        if of_text
    ]
    if len(vectors) < 2:
        return None
    total: Counter[str] = Counter()
    for vector in vectors:
        total.update(vector)
    square = sum(value * value for value in total.values())
    # Σ|x − mean|² = Σ|x|² − |Σx|² / n, and every |x| is 1.
    return min(1.0, max(0.0, len(vectors) - square / len(vectors)) / (len(vectors) - 1))
