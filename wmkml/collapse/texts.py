"""Measures of a collection of answers as texts: how many different word sequences, how much stammering.

Standard library alone, so that the owner can measure while it serves.  Knows nothing of models or tokens.
Distinct-n after Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models", section 5.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text, case folded, without punctuation."""
    return WORD.findall(text.casefold())


def distinct_n(texts: Iterable[str], n: int = 2, first: int | None = None) -> float:
    """Share (0 to 1) of different word n-grams among all n-grams of these texts; 0 where there are none.

    `first`: only so many of each text's first words are read.  Long texts have a smaller share than short ones of one vocabulary;
    where lengths differ, only texts cut to one length can be compared.
    """
    grams = [gram for text in texts for gram in _grams(words(text)[:first], n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(texts: Iterable[str]) -> float:
    """Share (0 to 1) of words that repeat the word before them, in the same text; 0 where there are none."""
    total = repeated = 0
    for text in texts:
        found = words(text)
        total += len(found)
        repeated += sum(one == other for one, other in itertools.pairwise(found))
    return repeated / total if total else 0.0


def _grams(found: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(found[start : start + n]) for start in range(len(found) - n + 1)]
