"""What is shown of life between two iterations: it moves smoothly from what it was to what is measured.

What is shown is always between two measured values, and never ahead of the newest.  While the operator holds the language it
does not move.  Where nothing was measured of an iteration, the last value stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EASE_SECONDS = 20.0
"""How long life takes to the value of an iteration that answers, from when it is known."""

STEP_SECONDS = 0.5
"""Between two values while it moves, and between two looks whether it should."""


class LifeCourse:
    """The life that is shown.  Pure: time comes as an argument."""

    def __init__(self, measured: float | None = None) -> None:
        """Show at once what was measured of the iteration that answers; None: nothing was."""
        self.shown = measured
        """0 to 1; None: nothing was measured yet."""
        self._from = self._to = measured if measured is not None else 0.0
        self._passed = EASE_SECONDS

    def measure(self, measured: float | None) -> bool:
        """This was measured of the iteration that answers now; True if what is shown has changed."""
        if measured is None or (self.shown is not None and measured == self._to):
            return False
        if self.shown is None:
            self.shown = self._to = measured
            return True
        self._from, self._to, self._passed = self.shown, measured, 0.0
        return False

    def advance(self, seconds: float) -> bool:
        """Let time pass; True if what is shown has changed."""
        if self._passed >= EASE_SECONDS:
            return False
        self._passed = min(EASE_SECONDS, self._passed + seconds)
        share = self._passed / EASE_SECONDS
        eased = share * share * (3 - 2 * share)
        self.shown = self._to if share == 1.0 else self._from + (self._to - self._from) * eased
        return True

    async def follow(
        self, measured: Callable[[], float | None], holding: Callable[[], bool], on_change: Callable[[float], None]
    ) -> None:
        """Move as time passes; never returns.

        Args:
            measured: returns what was measured of the iteration that answers now.
            holding: whether the language is held.
            on_change: called with every new value.
        """
        clock = asyncio.get_running_loop().time
        before = clock()
        if self.shown is not None:
            on_change(self.shown)
        while True:
            now = clock()
            changed = self.measure(measured())
            if not holding():
                changed = self.advance(now - before) or changed
            before = now
            if changed and self.shown is not None:
                on_change(self.shown)
            await asyncio.sleep(STEP_SECONDS)
