"""Counts how often in a row inference crashed over one iteration: an adapter can be finite and still crash the engine.

A crash counts only if a request to that iteration, or loading it, failed before inference was restarted.  One complete
answer resets the count.
"""

from __future__ import annotations

MAX_CRASHES = 3
"""After this many crashes in a row an iteration is not asked any more."""


class CrashCounter:
    """Crashes in a row over one iteration: the one whose request failed last."""

    def __init__(self) -> None:
        self._iteration: int | None = None
        self._failed = False
        self._count = 0

    def record_answer(self, iteration: int) -> None:
        """The iteration gave a complete answer: its count starts over."""
        if iteration == self._iteration:
            self._iteration = None

    def record_failure(self, iteration: int) -> None:
        """A request to the iteration failed; whether inference crashed over it is not known yet."""
        if iteration != self._iteration:
            self._iteration, self._count = iteration, 0
        self._failed = True

    def record_restart(self, iteration: int) -> bool:
        """Inference was restarted.  True if it has crashed MAX_CRASHES times in a row over this iteration."""
        if iteration != self._iteration:
            return False
        self._count += self._failed
        self._failed = False
        return self._count >= MAX_CRASHES
