"""Measures of a collection of answers as texts: distinct and repeated word sequences, compressibility, endings.

Standard library only, so that the owner can measure while it serves.
Distinct-n after Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models", section 5.
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from wmkml.dialogue.answer_end import SENTENCE_ENDS

WORD = re.compile(r"\w+")

FIRST_WORDS = 10
"""Words of each answer that `distinct_2_first` reads: about as many as the understudy's answers have."""

SELF_REPETITION_N = 4
"""Words of the sequences that `self_repetition` compares: long enough to be a formula and not grammar."""

CLOSING_MARKS = "\"'»«“”‘’)]"
"""What may follow the end of a sentence."""


def words(text: str) -> list[str]:
    """The words of a text, case folded, without punctuation."""
    return WORD.findall(text.casefold())


def distinct_n(texts: Iterable[str], n: int = 2, first: int | None = None) -> float:
    """Share (0 to 1) of distinct word n-grams among all n-grams of these texts; 0 if there are none.

    `first`: read only this many words of each text.  With the same vocabulary, longer texts have a smaller share, so
    texts of different lengths are comparable only if truncated to one length.
    """
    grams = [gram for text in texts for gram in _grams(words(text)[:first], n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(texts: Iterable[str]) -> float:
    """Share (0 to 1) of words that repeat the word before them in the same text; 0 if there are none."""
    total = repeated = 0
    for text in texts:
        sequence = words(text)
        total += len(sequence)
        repeated += sum(word == following for word, following in itertools.pairwise(sequence))
    return repeated / total if total else 0.0


def distinct_1(texts: Sequence[str]) -> float:
    """`distinct_n` of single words."""
    return distinct_n(texts, 1)


def distinct_2(texts: Sequence[str]) -> float:
    """`distinct_n` of pairs of words."""
    return distinct_n(texts, 2)


def distinct_3(texts: Sequence[str]) -> float:
    """`distinct_n` of triples of words."""
    return distinct_n(texts, 3)


def distinct_2_first(texts: Sequence[str]) -> float:
    """`distinct_2` of the first FIRST_WORDS words of each text, whatever its length."""
    return distinct_n(texts, 2, FIRST_WORDS)


def compression_ratio(texts: Sequence[str]) -> float | None:
    """Size of the texts, joined by newlines, in bytes of UTF-8 over their size compressed; None if they hold no word.

    gzip at level 9, as Shaib et al. 2024, "Standardizing the Measurement of Text Diversity", section 2, has it.  A
    short text is larger compressed than raw (gzip adds some 20 bytes): compare windows of similar length.
    """
    if not any(words(text) for text in texts):
        return None
    raw = "\n".join(texts).encode()
    return len(raw) / len(gzip.compress(raw, compresslevel=9, mtime=0))


def self_repetition(texts: Sequence[str]) -> float | None:
    """Share (0 to 1) of 4-grams of words that also occur in another of these texts; None if none has four words.

    After Salkar et al. 2022, "Self-Repetition in Abstractive Neural Summarizers", section 3, who count 4-grams that an
    output shares with other outputs; a share here, so that windows of different sizes compare.
    """
    grams = [_grams(words(text), SELF_REPETITION_N) for text in texts]
    texts_with = Counter(gram for of_text in grams for gram in set(of_text))
    total = sum(len(of_text) for of_text in grams)
    shared = sum(texts_with[gram] > 1 for of_text in grams for gram in of_text)
    return shared / total if total else None


def mean_length(texts: Sequence[str]) -> float:
    """Mean number of words of a text; 0 without texts."""
    return sum(len(words(text)) for text in texts) / len(texts) if texts else 0.0


def share_empty(texts: Sequence[str]) -> float:
    """Share (0 to 1) of texts without a word; 0 without texts."""
    return sum(not words(text) for text in texts) / len(texts) if texts else 0.0


def share_ended(texts: Sequence[str]) -> float:
    """Share (0 to 1) of texts that end as a sentence does; 0 without texts."""
    return sum(ends_with_sentence(text) for text in texts) / len(texts) if texts else 0.0


def ends_with_sentence(text: str) -> bool:
    """Whether a text ends as a sentence does, closing quotes and brackets apart."""
    return text.rstrip().rstrip(CLOSING_MARKS).rstrip().endswith(tuple(SENTENCE_ENDS))


def _grams(sequence: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(sequence[start : start + n]) for start in range(len(sequence) - n + 1)]
