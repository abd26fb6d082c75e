"""Progress on standard error: a line for each iteration, and between them a status line that is overwritten."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from wmkml.system.duration_text import duration_text

OVERWRITTEN_EVERY = 0.2
LINE_EVERY = 5.0
"""Shortest time in seconds between two status lines: on a terminal, and in a file, where lines are not overwritten."""


class Progress:
    """Writes status lines, at a limited rate, and lines that stay; `where` opens every status line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._written_at = time.monotonic()
        self._line_open = False
        self.where = ""

    def __call__(self, task: str, done: int, total: int) -> None:
        """Write a status line, unless the last one was written a moment ago."""
        now = time.monotonic()
        if now - self._written_at < (OVERWRITTEN_EVERY if self._terminal else LINE_EVERY):
            return
        self._written_at = now
        text = f"{self.where}: {task}, {done} of {total}"
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._line_open = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def print_line(self, text: str) -> None:
        """Write a line that is not overwritten."""
        if self._line_open:
            self._stream.write("\r\x1b[K")
            self._line_open = False
        self._stream.write(f"{text}\n")
        self._stream.flush()
        self._written_at = time.monotonic()


class RoundClock:
    """Says how long all runs will take, once the first has shown how long a round takes.

    Args:
        weights: what each round of a run takes, in any unit.
        runs: how many are to be played.
        say: is given the sentence, once; not where nothing is left.
        now: seconds of a clock.
    """

    def __init__(
        self,
        weights: Sequence[float],
        runs: int,
        say: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._weights, self._runs, self._say, self._now = weights, runs, say, now
        self._began: float | None = None

    def measured(self, iteration: int) -> None:
        """Called after each iteration is measured, the untouched model (−1) first."""
        if iteration < 0:
            # What came before is the loading of dictionaries and embeddings, which is not repeated.
            self._began = self._now()
        elif iteration == 0 and self._began is not None and self._runs:
            pace = (self._now() - self._began) / self._weights[0]
            # Of the other runs the untouched model is measured, too: about half of their first round.
            others = sum(self._weights) + self._weights[0] / 2
            seconds = pace * (sum(self._weights[1:]) + (self._runs - 1) * others)
            if seconds > 0:
                self._say(f"About {duration_text(seconds)} are left for all rounds, if this machine stays as busy.")
            self._runs = 0
