"""From token ids back to text while it is being made: characters split across tokens, stop strings, and the entropy.

Shared by everything that reads an engine's steps; knows neither engines nor services.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\ufffd"
_PATIENCE = 8
"""Tokens: a character has at most four bytes, and some silent ones may stand before; after so many none is coming."""


def entropy(top: Sequence[tuple[int, float]]) -> float:
    """Entropy in nats over the likeliest tokens `(id, logprob)` and one bucket with the rest of the probability."""
    shares = [math.exp(logprob) for _, logprob in top]
    shares.append(max(0.0, 1.0 - sum(shares)))
    return -sum(share * math.log(share) for share in shares if share > 0.0)


class Detokenizer:
    """Turns ids into text piece by piece; the pieces joined are the text of all ids, without special tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # Ids before `_read` are told; those from `_context` on are decoded again with the new one, because what a
        # token looks like depends on those before it (a space at the start of a word, a byte of a character).
        self._context = 0
        self._read = 0

    def push(self, token: int) -> str:
        """The text that this token completes; empty inside a character."""
        self._ids.append(token)
        text = self._fresh()
        waiting = len(self._ids) - self._read
        if not text or (text.endswith(_INCOMPLETE) and waiting < _PATIENCE):
            return ""
        self._context, self._read = self._read, len(self._ids)
        return text

    def finish(self) -> str:
        """What was held back and will not be completed."""
        text = self._fresh()
        self._context = self._read = len(self._ids)
        return text

    def _fresh(self) -> str:
        told = self._decode(self._ids[self._context : self._read])
        return self._decode(self._ids[self._context :])[len(told) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def single_texts(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], str]:
    """The text of any one token as it is inside a text, its leading space included; empty for special tokens."""
    # Alone, at the start of a text, a word's space would be taken from it.
    before = tokenizer.encode("a", add_special_tokens=False)

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    length = len(decode(before))

    @functools.lru_cache(maxsize=4096)
    def text_of(token: int) -> str:
        return decode([*before, token])[length:]

    return text_of


class StopStrings:
    """Ends a text before the first of some strings; holds back what might become one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [one for one in strings if one]
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """What can be told now, and whether a stop string has ended the text."""
        if not self._strings:
            return text, False
        self._held += text
        found = [place for one in self._strings if (place := self._held.find(one)) >= 0]
        if found:
            told, self._held = self._held[: min(found)], ""
            return told, True
        keep = max(self._overlap(one) for one in self._strings)
        told, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return told, False

    def finish(self) -> str:
        """What was held back, when the answer ends without a stop string."""
        told, self._held = self._held, ""
        return told

    def _overlap(self, string: str) -> int:
        """How many last characters of what is held begin the stop string."""
        longest = min(len(string) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(string[:size])), 0)
