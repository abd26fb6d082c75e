"""Counts how often inference died over the iteration that answers: an adapter may be finite, and deadly all the same.

Only a death while that iteration was answering or being loaded counts, and one answer takes all of them back.  Knows no
inference and no run; whoever asks decides what follows.
"""

from __future__ import annotations

MOST = 3
"""An iteration over which inference died so often in a row shall not answer any more."""


class Deaths:
    """The deaths in a row over one iteration, the one that was told of last."""

    def __init__(self) -> None:
        self._iteration: int | None = None
        self._broken = False
        self._count = 0

    def answered(self, iteration: int) -> None:
        """It gave a whole answer: it is no deadly one."""
        if iteration == self._iteration:
            self._iteration = None

    def broke_off(self, iteration: int) -> None:
        """Inference went away over it; whether it died is not known yet."""
        if iteration != self._iteration:
            self._iteration, self._count = iteration, 0
        self._broken = True

    def restarted(self, iteration: int) -> bool:
        """Inference was started anew; whether it died over this iteration too often."""
        if iteration != self._iteration:
            return False
        self._count += self._broken
        self._broken = False
        return self._count >= MOST
