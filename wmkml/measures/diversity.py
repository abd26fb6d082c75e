"""How much the answers to one prompt, drawn at one temperature, differ from each other.

Each function takes the answers of one prompt and gives a number, or None where there is nothing to measure.  Words are
what white space separates, lower-cased where n-grams are compared as sets or counted as vectors; sizes are those of
gzip at level 9.  Needs numpy, and `self_bleu` nltk: the extra `lab`.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wmkml.measures import texts as of_texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

Gain = Callable[[str, str], float | None]
"""From all other answers, joined by spaces, and an answer to what is gained; None where one of them is empty."""

CLUSTER_THRESHOLD = 0.5
"""Similarity by pairs of words, 0 to 1, from which two answers belong to one cluster."""

SHORTEST = 4
"""Words of an answer below which it has no 4-gram, and counts as too short."""

SIMILARITY_GRAMS = (1, 2, 3, 4)
"""The n-grams whose cosine similarities are averaged for `vendi` and the Hill numbers, as the Vendi score's authors do."""


def bleu_installed() -> bool:
    """Whether nltk is there, which `self_bleu` needs."""
    return importlib.util.find_spec("nltk") is not None


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU (0 to 1) of each answer against all others; None below two answers.

    nltk's sentence BLEU up to 4-grams with its smoothing method 1, words split at white space and as they are written.
    After Zhu et al. 2018, "Texygen".  High where the answers are alike.
    """
    if len(texts) < 2:
        return None
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smoothing = SmoothingFunction().method1
    split = [text.split() for text in texts]
    scores = [
        float(sentence_bleu([*split[:index], *split[index + 1 :]], words, smoothing_function=smoothing))
        for index, words in enumerate(split)
    ]
    return sum(scores) / len(scores)


def ncd(texts: Sequence[str]) -> float | None:
    """Mean normalised compression distance over all ordered pairs of answers; None below two answers.

    (C(xy) − min(C(x), C(y))) / max(C(x), C(y)), where C is the compressed size and xy the two texts joined by a space
    (Li et al. 2004, "The Similarity Metric").  Near 0 where the answers are alike, about 1 where they share nothing.
    """
    if len(texts) < 2:
        return None
    sizes = [_compressed(text) for text in texts]
    distances = [
        (_compressed(f"{texts[a]} {texts[b]}") - min(sizes[a], sizes[b])) / max(sizes[a], sizes[b])
        for a, b in itertools.permutations(range(len(texts)), 2)
    ]
    return sum(distances) / len(distances)


def jaccard_2(texts: Sequence[str]) -> float | None:
    """`jaccard` of pairs of words."""
    return jaccard(texts, 2)


def jaccard_3(texts: Sequence[str]) -> float | None:
    """`jaccard` of triples of words."""
    return jaccard(texts, 3)


def jaccard_4(texts: Sequence[str]) -> float | None:
    """`jaccard` of sequences of four words."""
    return jaccard(texts, 4)


def jaccard(texts: Sequence[str], n: int) -> float | None:
    """Mean Jaccard similarity (0 to 1) of the answers' sets of n-grams, over all pairs; None below two answers."""
    if len(texts) < 2:
        return None
    similarity = jaccard_matrix(texts, n)
    count = len(texts)
    return float((similarity.sum() - similarity.trace()) / (count * (count - 1)))


def jaccard_matrix(texts: Sequence[str], n: int) -> Matrix:
    """The Jaccard similarity of every two answers' sets of n-grams, answers × answers; two empty sets give 0.

    The diagonal is 1, also of an answer without an n-gram.
    """
    import numpy as np

    sets = [set(_grams(text, n)) for text in texts]
    matrix = np.eye(len(texts))
    for a, b in itertools.combinations(range(len(texts)), 2):
        union = len(sets[a] | sets[b])
        matrix[a, b] = matrix[b, a] = len(sets[a] & sets[b]) / union if union else 0.0
    return matrix


def vendi_jaccard_2(texts: Sequence[str]) -> float | None:
    """The Vendi score by `jaccard_matrix` of pairs of words: how many different answers there are; None without any."""
    return vendi_score(jaccard_matrix(texts, 2)) if texts else None


def vendi(texts: Sequence[str]) -> float | None:
    """The Vendi score by `cosine_matrix`: how many different answers there are, from 1 to their number."""
    return vendi_score(cosine_matrix(texts)) if texts else None


def vendi_score(similarity: Matrix) -> float:
    """exp of the Shannon entropy of the eigenvalues of similarity / n (Friedman and Dieng 2023, "The Vendi Score").

    Args:
        similarity: n × n, symmetric, with a diagonal of 1.
    """
    import numpy as np

    values = np.linalg.eigvalsh(similarity / len(similarity))
    values = values[values > 1e-12]
    return math.exp(-float((values * np.log(values)).sum()))


def cosine_matrix(texts: Sequence[str]) -> Matrix:
    """The cosine similarity of every two answers' counts of n-grams, the mean over SIMILARITY_GRAMS; the diagonal is 1."""
    import numpy as np

    matrix = np.zeros((len(texts), len(texts)))
    for n in SIMILARITY_GRAMS:
        counts = [Counter(_grams(text, n)) for text in texts]
        lengths = [math.sqrt(sum(count * count for count in of_text.values())) for of_text in counts]
        for a, b in itertools.combinations(range(len(texts)), 2):
            if product := sum(count * counts[b][gram] for gram, count in counts[a].items()):
                matrix[a, b] += product / (lengths[a] * lengths[b]) / len(SIMILARITY_GRAMS)
    matrix += matrix.T
    np.fill_diagonal(matrix, 1.0)
    return matrix


def hill_0(texts: Sequence[str]) -> float | None:
    """`hill_number` of order 0 by `cosine_matrix`: rare answers count as much as frequent ones."""
    return hill_number(cosine_matrix(texts), 0.0) if texts else None


def hill_1(texts: Sequence[str]) -> float | None:
    """`hill_number` of order 1 by `cosine_matrix`."""
    return hill_number(cosine_matrix(texts), 1.0) if texts else None


def hill_2(texts: Sequence[str]) -> float | None:
    """`hill_number` of order 2 by `cosine_matrix`: frequent answers count more."""
    return hill_number(cosine_matrix(texts), 2.0) if texts else None


def hill_inf(texts: Sequence[str]) -> float | None:
    """`hill_number` of infinite order by `cosine_matrix`: only the most ordinary answer counts."""
    return hill_number(cosine_matrix(texts), math.inf) if texts else None


def hill_number(similarity: Matrix, order: float) -> float:
    """The similarity-sensitive Hill number of answers that weigh the same: how many different ones there are.

    (Σ pᵢ (Zp)ᵢ^(q−1))^(1/(1−q)) with pᵢ = 1/n, and its limits at q = 1 and ∞ (Leinster and Cobbold 2012, "Measuring
    diversity: the importance of species similarity").

    Args:
        similarity: Z, n × n, 0 to 1, with a diagonal of 1.
        order: q, from 0; infinity is allowed.
    """
    import numpy as np

    ordinariness = similarity.mean(axis=1)
    if math.isinf(order):
        return float(1 / ordinariness.max())
    if order == 1.0:
        return math.exp(-float(np.log(ordinariness).mean()))
    return float((ordinariness ** (order - 1)).mean() ** (1 / (1 - order)))


def compression_gain_answer(texts: Sequence[str]) -> float | None:
    """What an answer gains by being compressed with the others, mean over the answers; None below two.

    Compressed over raw size of the answer alone, less that of all others and it, joined by spaces.  Empty answers have
    no size of their own and are left out.  High where the answers are alike.
    """
    return _mean_gain(texts, lambda others, text: _packing(text) - _packing(f"{others} {text}") if text else None)


def compression_gain_set(texts: Sequence[str]) -> float | None:
    """What an answer adds to the others, mean over the answers; None below two.

    Compressed over raw size of all others joined by spaces, less that of them and it.  High where the answers are alike.
    """
    return _mean_gain(texts, lambda others, text: _packing(others) - _packing(f"{others} {text}") if others else None)


def distinct_4(texts: Sequence[str]) -> float:
    """`wmkml.measures.texts.distinct_n` of sequences of four words."""
    return of_texts.distinct_n(texts, 4)


def measured_distinct_1(texts: Sequence[str]) -> float | None:
    """`distinct_n` of single words; None where no answer has one, which is neither diverse nor alike."""
    return _measured_distinct(texts, 1)


def measured_distinct_2(texts: Sequence[str]) -> float | None:
    """`distinct_n` of pairs of words; None where no answer has two."""
    return _measured_distinct(texts, 2)


def measured_distinct_3(texts: Sequence[str]) -> float | None:
    """`distinct_n` of triples of words; None where no answer has three."""
    return _measured_distinct(texts, 3)


def measured_distinct_4(texts: Sequence[str]) -> float | None:
    """`distinct_n` of 4-grams of words; None where no answer has four."""
    return _measured_distinct(texts, 4)


def clusters(texts: Sequence[str], threshold: float = CLUSTER_THRESHOLD) -> float | None:
    """The number of clusters of answers by single linkage: answers of a chain in which each resembles the next.

    Args:
        threshold: Jaccard similarity of pairs of words, 0 to 1, from which two answers are linked.
    """
    if not texts:
        return None
    linked = jaccard_matrix(texts, 2) >= threshold
    left, count = set(range(len(texts))), 0
    while left:
        count += 1
        waiting = [left.pop()]
        while waiting:
            index = waiting.pop()
            neighbours = {other for other in left if linked[index, other]}
            left -= neighbours
            waiting += neighbours
    return float(count)


def distinct_answers(texts: Sequence[str]) -> float | None:
    """`clusters` as a share (0 to 1) of the answers: 1 where no two are alike; None without any."""
    number = clusters(texts)
    return None if number is None else number / len(texts)


def share_empty(texts: Sequence[str]) -> float | None:
    """Share (0 to 1) of answers that are empty or white space."""
    return sum(not text.split() for text in texts) / len(texts) if texts else None


def share_too_short(texts: Sequence[str]) -> float | None:
    """Share (0 to 1) of answers below SHORTEST words, the empty ones among them."""
    return sum(len(text.split()) < SHORTEST for text in texts) / len(texts) if texts else None


def mean_length(texts: Sequence[str]) -> float | None:
    """Mean number of words, split at white space."""
    return sum(len(text.split()) for text in texts) / len(texts) if texts else None


def _measured_distinct(texts: Sequence[str], n: int) -> float | None:
    # The installation's own measure is 0 there: a language without words is dead, and its curve is to say so.
    if not any(len(of_texts.words(text)) >= n for text in texts):
        return None
    return of_texts.distinct_n(texts, n)


def _mean_gain(texts: Sequence[str], gain: Gain) -> float | None:
    if len(texts) < 2:
        return None
    gains = [gain(" ".join([*texts[:index], *texts[index + 1 :]]), text) for index, text in enumerate(texts)]
    known = [value for value in gains if value is not None]
    return sum(known) / len(known) if known else None


def _packing(text: str) -> float:
    return _compressed(text) / len(text.encode())


def _compressed(text: str) -> int:
    return len(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
