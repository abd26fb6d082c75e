"""A run's clock: seconds since the run began, continuing across a restart of the owner."""

from __future__ import annotations

import asyncio
import time


class RunClock:
    """Counts seconds from a start that may lie before this process."""

    def __init__(self, started_at: float) -> None:
        """`started_at`: seconds since 1970."""
        # The wall clock is read once: setting it later, as at boot, does not move a run under way.
        self._zero = time.monotonic() - max(0.0, time.time() - started_at)

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._zero

    async def sleep_until(self, elapsed: float) -> None:
        """Sleep until the run is `elapsed` seconds old; return at once if it already is."""
        await asyncio.sleep(max(0.0, elapsed - self.elapsed()))
