"""Tells on standard error what is being done: a line for each iteration, and between them one that is written over.

Knows a stream and the clock; knows nothing of what the numbers mean.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

OVERWRITTEN_EVERY = 0.2
LINE_EVERY = 5.0
"""Seconds between two tellings: on a terminal, and where lines stay."""


class Progress:
    """What is going on, at most every so often."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._told_at = time.monotonic()
        self._open = False
        self.where = ""

    def __call__(self, what: str, done: int, of: int) -> None:
        """So much of this is done."""
        now = time.monotonic()
        if now - self._told_at < (OVERWRITTEN_EVERY if self._terminal else LINE_EVERY):
            return
        self._told_at = now
        text = f"{self.where}: {what}, {done} of {of}"
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._open = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def line(self, text: str) -> None:
        """Something that stays."""
        if self._open:
            self._stream.write("\r\x1b[K")
            self._open = False
        self._stream.write(f"{text}\n")
        self._stream.flush()
        self._told_at = time.monotonic()
