"""Which workers are there: noted from their requests, told to everyone as a word.

Of two workers with one name the newer one counts, as long as it is heard of: else they would end each other's rounds
for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from wmkml.runs.schema import Round

SILENT_SECONDS = 30.0
"""A worker that has not asked for anything for so long is away."""


SUCCESSOR_SECONDS = 60.0
"""A worker that has claimed nothing for so long, and trains nothing, bars no older one of its name."""


class Workers:
    """Notes when a worker was last heard, and which sessions have successors."""

    def __init__(self) -> None:
        self._heard: float | None = None
        self._asking = 0
        self._successors: dict[str, str] = {}
        self._claimed: dict[str, float] = {}

    def claims(self, session: str) -> None:
        """A session claims a round."""
        now = time.monotonic()
        self._claimed = {one: when for one, when in self._claimed.items() if now - when < SUCCESSOR_SECONDS}
        self._claimed[session] = now

    def supersede(self, session: str, by: str) -> None:
        """A worker was started anew, or a second one of its name: its session before is not to claim any more."""
        self._successors[session] = by

    def superseded(self, session: str, current: Round | None) -> bool:
        """Whether a session has a successor that is still heard of."""
        by = self._successors.get(session)
        if by is None:
            return False
        trains = current is not None and current.session == by
        if not trains and time.monotonic() - self._claimed.get(by, -SUCCESSOR_SECONDS) >= SUCCESSOR_SECONDS:
            del self._successors[session]
            return False
        return True

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A worker's request is under way."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            self._heard = time.monotonic()

    def silent_seconds(self) -> float | None:
        """How long no worker was heard; none: not since the owner was started."""
        return None if self._heard is None else time.monotonic() - self._heard

    def state(self, current: Round | None) -> Literal["ready", "training", "away"]:
        """What the worker does now."""
        if current is not None and current.status == "training":
            return "training"
        there = self._asking > 0 or (self._heard is not None and time.monotonic() - self._heard < SILENT_SECONDS)
        return "ready" if there else "away"
