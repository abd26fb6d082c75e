"""How many typing events are passed on: they cost nothing to send, and each goes to every page and to OSC."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

EVENTS_OF_STATION = 10
"""Of one station within WINDOW_SECONDS; a page sends one when typing begins, and one when it stops."""

EVENTS_OF_ALL = 100
"""Of all stations together."""

WINDOW_SECONDS = 1.0


class TypingLimit:
    """Counts typing events within a window of time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic, in seconds."""
        self._clock = clock
        self._began = clock()
        self._counts: Counter[str] = Counter()

    def allows(self, station: str) -> bool:
        """Whether one more event of this station is passed on."""
        now = self._clock()
        if now - self._began >= WINDOW_SECONDS:
            self._began = now
            self._counts.clear()
        if self._counts[station] >= EVENTS_OF_STATION or self._counts.total() >= EVENTS_OF_ALL:
            return False
        self._counts[station] += 1
        return True
