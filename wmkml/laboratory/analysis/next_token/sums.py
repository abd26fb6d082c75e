"""Sums over a corpus from which ratios and their standard errors follow, in memory that does not grow with it.

Everything measured is a ratio: what was summed over a document, over how many tokens, words or bytes it has.  Tokens of a
document depend on each other, documents hardly do; so the standard error is that of a ratio of sums over clusters, by
linearisation, with a document a cluster (Cochran 1977, "Sampling Techniques", section 6.5 and chapter 9).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

PARTS = ("count", "a", "b", "aa", "ab", "bb")


class RatioSums:
    """For ratios Σa / Σb over documents, one or many at once; every array has the shape of `a`, `b` may be broadcast to it."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.count = np.zeros(())
        self.a, self.b, self.aa, self.ab, self.bb = (np.zeros(shape) for _ in range(5))

    def add(self, a: Numbers | float, b: Numbers | float) -> None:
        """Add a document's sums."""
        self.count += 1
        self.a += a
        self.b += b
        self.aa += np.multiply(a, a)
        self.ab += np.multiply(a, b)
        self.bb += np.multiply(b, b)

    def merge(self, other: RatioSums) -> None:
        """Add all documents of another."""
        for part in PARTS:
            setattr(self, part, getattr(self, part) + getattr(other, part))

    def ratio(self) -> Numbers:
        """Σa / Σb; NaN where Σb is 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.a / self.b)

    def error(self) -> Numbers:
        """The ratio's standard error; NaN below two documents, or where Σb is 0."""
        if self.count < 2:
            return np.full(np.shape(self.a), np.nan)
        ratio = self.ratio()
        squares = self.aa - 2 * ratio * self.ab + ratio**2 * self.bb
        with np.errstate(invalid="ignore", divide="ignore"):
            # Below 0 by rounding alone, where all documents have the same ratio.
            return np.asarray(np.sqrt(self.count / (self.count - 1) * np.maximum(squares, 0.0)) / self.b)

    def state(self) -> dict[str, Numbers]:
        """Every sum by name, to be written down."""
        return {part: np.asarray(getattr(self, part)) for part in PARTS}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        for part in PARTS:
            setattr(self, part, np.array(state[part], dtype=np.float64))


class DocumentSums:
    """The sums of the document under way.

    Attributes:
        ranks: Σ of the probabilities sorted from the largest, shape (vocabulary,).
        positions: by position in the window: how often it was predicted, Σ entropy, Σ log-probability; shape (3, window).
    """

    def __init__(self, vocabulary: int, window: int) -> None:
        self.ranks = np.zeros(vocabulary)
        self.positions = np.zeros((3, window))
        self.entropy = self.log_probability = self.top_1 = 0.0

    def add(self, scores: WindowScores) -> None:
        """Add a window of the document."""
        count, length = len(scores.entropies), scores.length
        self.entropy += float(scores.entropies.sum())
        self.log_probability += float(scores.log_probabilities.sum())
        self.top_1 += float(scores.top_1.sum())
        self.ranks += scores.ranks
        self.positions[0, length - count : length] += 1
        self.positions[1, length - count : length] += scores.entropies
        self.positions[2, length - count : length] += scores.log_probabilities


class WindowScores:
    """What the model expected at the predicted positions of a window, in order; natural logarithms.

    Attributes:
        length: how many tokens the model read; the predicted positions are the last ones.
        ranks: Σ over these positions of the probabilities sorted from the largest, shape (vocabulary,).
    """

    __slots__ = ("entropies", "length", "log_probabilities", "ranks", "top_1")

    def __init__(
        self, length: int, log_probabilities: Numbers, entropies: Numbers, top_1: Numbers, ranks: Numbers
    ) -> None:
        self.length, self.log_probabilities, self.entropies = length, log_probabilities, entropies
        self.top_1, self.ranks = top_1, ranks


class TokenSums:
    """The sums of a file, or of several together."""

    def __init__(self, vocabulary: int, window: int) -> None:
        self.entropy, self.log_probability, self.top_1 = RatioSums(), RatioSums(), RatioSums()
        self.per_word, self.per_byte = RatioSums(), RatioSums()
        self.ranks, self.cumulative = RatioSums((vocabulary,)), RatioSums((vocabulary,))
        self.position_entropy, self.position_log_probability = RatioSums((window,)), RatioSums((window,))

    def add(self, document: DocumentSums, tokens: int, words: int, size: int) -> None:
        """Add a document with its numbers of tokens, words and bytes."""
        self.entropy.add(document.entropy, tokens)
        self.log_probability.add(document.log_probability, tokens)
        self.top_1.add(document.top_1, tokens)
        self.per_word.add(document.log_probability, words)
        self.per_byte.add(document.log_probability, size)
        self.ranks.add(document.ranks, tokens)
        self.cumulative.add(np.cumsum(document.ranks), tokens)
        self.position_entropy.add(document.positions[1], document.positions[0])
        self.position_log_probability.add(document.positions[2], document.positions[0])

    def merge(self, other: TokenSums) -> None:
        """Add all documents of another."""
        for name, sums in vars(self).items():
            sums.merge(getattr(other, name))

    def state(self) -> dict[str, Numbers]:
        """Every sum by name, to be written down."""
        return {f"{name}.{part}": value for name, sums in vars(self).items() for part, value in sums.state().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, sums in vars(self).items():
            sums.restore({part: state[f"{name}.{part}"] for part in PARTS})
