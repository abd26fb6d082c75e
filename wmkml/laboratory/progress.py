"""Progress on standard error: a line for each iteration, and between them a status line that is overwritten."""

from __future__ import annotations

import sys
import time
from typing import TextIO

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
