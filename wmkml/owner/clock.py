"""A run's clock: seconds since it began, going on through a restart of the owner."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """Counts from a moment that may lie before this process."""

    def __init__(self, started_at: float) -> None:
        """`started_at`: seconds since 1970."""
        # The wall clock is asked once: that it is set right later, as at boot, moves no run under way.
        self._zero = time.monotonic() - max(0.0, time.time() - started_at)

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._zero

    async def until(self, elapsed: float) -> None:
        """Wait until the run is so many seconds old."""
        await asyncio.sleep(max(0.0, elapsed - self.elapsed()))
