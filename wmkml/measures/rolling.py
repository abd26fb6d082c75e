"""Measures of the last tokens of every stream of answers, for what should not wait for a round.  Standard library only.

A stream is what one station is answered, one answer after another: answers that stations get at the same time are no text.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from wmkml.measures.texts import repetition

LAST_TOKENS = 200
"""How many of a stream's tokens are measured; at most 256, which `looping` numbers in a byte."""


@dataclass(frozen=True)
class StreamToken:
    """One token of a stream: its text (may be empty inside a character), its probability, the distribution's entropy in
    nats, and the number of its answer within the stream."""

    text: str
    probability: float
    entropy: float
    answer: int


def looping(tokens: Sequence[Hashable]) -> float:
    """Share (0 to 1) of the last LAST_TOKENS tokens that repeat, whole, what stands right before them; 0 without tokens.

    A token repeats if it belongs to a stretch that follows itself: for some period p from 1, at least p tokens in a row
    each equal the one p places before.  So "so so so" repeats with its second and third token, a sentence of twelve tokens
    that is told twice with the twelve of the second time, and one that is told for ever with nearly all.  Two tokens that
    happen to recur elsewhere do not.  Of this project.
    """
    recent = tokens[-LAST_TOKENS:]
    count = len(recent)
    numbers = {token: number for number, token in enumerate(dict.fromkeys(recent))}
    # As bytes, so that all places are compared with those a period before by one exclusive or: 0 where both are equal.
    places = bytes(numbers[token] for token in recent)
    repeats = bytearray(count)
    for period in range(1, count // 2 + 1):
        difference = int.from_bytes(places[period:]) ^ int.from_bytes(places[:-period])
        compared = difference.to_bytes(count - period)
        if compared.count(0) < period:
            continue
        for equal in re.finditer(rb"\x00{%d,}" % period, compared):
            start, end = equal.start() + period, equal.end() + period
            repeats[start:end] = b"\x01" * (end - start)
    return sum(repeats) / count if count else 0.0


@dataclass
class _Stream:
    tokens: deque[StreamToken] = field(default_factory=lambda: deque(maxlen=LAST_TOKENS))
    answer: int = 0
    flows: bool = False


class RollingMeasures:
    """The streams of all stations, by station."""

    def __init__(self) -> None:
        self._streams: dict[str, _Stream] = {}

    def begin_answer(self, station: str, restarted: bool = False) -> None:
        """An answer begins; `restarted`: what it said before does not count."""
        stream = self._streams.setdefault(station, _Stream())
        if restarted:
            kept = [token for token in stream.tokens if token.answer != stream.answer]
            stream.tokens = deque(kept, LAST_TOKENS)
        stream.answer += 1

    def add_token(self, station: str, text: str, probability: float, entropy: float) -> None:
        """One more token of a station's answer."""
        stream = self._streams.setdefault(station, _Stream())
        stream.tokens.append(StreamToken(text, probability, entropy, stream.answer))
        stream.flows = True

    def forget(self, station: str) -> None:
        """A station's words were deleted."""
        self._streams.pop(station, None)

    def clear(self) -> None:
        """The run is over."""
        self._streams.clear()

    def take(self) -> dict[str, float]:
        """The means over the streams that have flowed since the last call, by the measures' names; empty where none has."""
        flowing = [stream for stream in self._streams.values() if stream.flows]
        for stream in flowing:
            stream.flows = False
        measured = [stream_measures(list(stream.tokens)) for stream in flowing if stream.tokens]
        return {
            name: math.fsum(measures[name] for measures in measured) / len(measured)
            for name in (measured[0] if measured else {})
        }


def stream_measures(tokens: Sequence[StreamToken]) -> dict[str, float]:
    """The measures of one stream's tokens, by name.

    Entropy in nats and the probability of what was said are means over the tokens; repetition is that of the words of each
    answer; looping reads all answers as one, tokens without the white space around them: a sentence begins otherwise at an
    answer's start than within it.
    """
    answers = ["".join(token.text for token in answer) for _, answer in groupby(tokens, lambda token: token.answer)]
    return {
        "rolling_entropy": math.fsum(token.entropy for token in tokens) / len(tokens),
        "rolling_confidence": math.fsum(token.probability for token in tokens) / len(tokens),
        "rolling_repetition": repetition(answers),
        "rolling_looping": looping([token.text.strip() or token.text for token in tokens]),
    }
