"""Which workers there are, by their requests: when one was last heard from, and which session has a newer one.

Of two sessions of one worker's name the newer is given rounds, as long as it is heard from: else each would end the
other's rounds for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from wmkml.runs.schema import Round

SILENT_SECONDS = 30.0
"""A worker that has sent no request for this long counts as away; a claim alone takes up to 25 s."""

SUCCESSOR_SECONDS = 60.0
"""A session that has claimed nothing for this long, and trains nothing, bars no older session of its name."""


class WorkerRegistry:
    """Remembers when a worker was last heard from, and which sessions have successors."""

    def __init__(self) -> None:
        self._last_heard_at: float | None = None
        self._requests_under_way = 0
        self._successors: dict[str, str] = {}
        self._claimed_at: dict[str, float] = {}
        self.unable_reason = ""
        """Why the worker that was heard from last cannot train; empty since one has claimed a round."""

    def record_claim(self, session: str) -> None:
        """A session claims a round."""
        now, self.unable_reason = time.monotonic(), ""
        self._claimed_at = {
            other: claimed_at for other, claimed_at in self._claimed_at.items() if now - claimed_at < SUCCESSOR_SECONDS
        }
        self._claimed_at[session] = now

    def supersede(self, session: str, successor: str) -> None:
        """A worker was started again, or a second one of its name: its earlier session is given no more rounds."""
        self._successors[session] = successor

    def is_superseded(self, session: str, current: Round | None) -> bool:
        """Whether a session has a successor that is still heard from."""
        successor = self._successors.get(session)
        if successor is None:
            return False
        trains = current is not None and current.session == successor
        if not trains and time.monotonic() - self._claimed_at.get(successor, -SUCCESSOR_SECONDS) >= SUCCESSOR_SECONDS:
            del self._successors[session]
            return False
        return True

    @contextmanager
    def request_under_way(self) -> Iterator[None]:
        """A worker's request is under way."""
        self._requests_under_way += 1
        try:
            yield
        finally:
            self._requests_under_way -= 1
            self._last_heard_at = time.monotonic()

    def silent_seconds(self) -> float | None:
        """How long no worker was heard from; None: not since the owner was started."""
        return None if self._last_heard_at is None else time.monotonic() - self._last_heard_at

    def state(self, current: Round | None) -> Literal["ready", "training", "away"]:
        """What the worker does now."""
        if current is not None and current.status == "training":
            return "training"
        silent = self.silent_seconds()
        is_there = self._requests_under_way > 0 or (silent is not None and silent < SILENT_SECONDS)
        return "ready" if is_there else "away"
