"""From an engine's steps to text: characters that span tokens, stop strings, and the entropy of a step."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\ufffd"
"""What tokenizers decode bytes to that are no whole character."""

_MAX_INCOMPLETE_TOKENS = 8
"""Tokens that are held back for a character.  It has at most four bytes, and tokens without text may precede it."""


def entropy(top: Sequence[tuple[int, float]]) -> float:
    """Entropy in nats over the likeliest tokens `(id, logprob)` and one bucket with the rest of the probability."""
    shares = [math.exp(logprob) for _, logprob in top]
    shares.append(max(0.0, 1.0 - sum(shares)))
    return -sum(share * math.log(share) for share in shares if share > 0.0)


class Detokenizer:
    """Decodes ids one by one; the texts joined are the text of all ids, without special tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, before: Sequence[int] = ()) -> None:
        """`before`: ids that the text goes on from; it holds what they leave open of a character, and nothing else of them."""
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # The text of the ids before `_returned` was returned.  Ids from `_context` on are decoded again with each new
        # id, because a token's text depends on those before it (the space before a word, the bytes of a character).
        self._context = 0
        self._returned = 0
        for token in before:
            self.push(token)

    def push(self, token: int) -> str:
        """Add a token; returns the text that it completes, which is empty inside a character."""
        self._ids.append(token)
        text = self._new_text()
        waiting = len(self._ids) - self._returned
        if not text or (text.endswith(_INCOMPLETE) and waiting < _MAX_INCOMPLETE_TOKENS):
            return ""
        self._context, self._returned = self._returned, len(self._ids)
        return text

    def finish(self) -> str:
        """The text that was held back; half a character becomes U+FFFD."""
        text = self._new_text()
        self._context = self._returned = len(self._ids)
        return text

    def _new_text(self) -> str:
        returned = self._decode(self._ids[self._context : self._returned])
        return self._decode(self._ids[self._context :])[len(returned) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def token_decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], str]:
    """A function from a token's id to its text within a longer text: with leading space, empty for special tokens."""
    # Decoded after another token, since a word at the start of a text may lose its leading space.
    prefix = tokenizer.encode("a", add_special_tokens=False)

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    length = len(decode(prefix))

    @functools.lru_cache(maxsize=4096)
    def text_of(token: int) -> str:
        return decode([*prefix, token])[length:]

    return text_of


class StopStrings:
    """Ends a text before the first stop string in it; holds back text that may be the beginning of one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [string for string in strings if string]
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Add text; returns the text that is certain now, and whether a stop string has ended it."""
        if not self._strings:
            return text, False
        self._held += text
        starts = [start for string in self._strings if (start := self._held.find(string)) >= 0]
        if starts:
            certain, self._held = self._held[: min(starts)], ""
            return certain, True
        end = len(self._held) - max(self._overlap(string) for string in self._strings)
        certain, self._held = self._held[:end], self._held[end:]
        return certain, False

    def finish(self) -> str:
        """The text that was held back, when the answer ends without a stop string."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, string: str) -> int:
        """How many of the last held characters are the beginning of the stop string."""
        longest = min(len(string) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(string[:size])), 0)
