"""Ctrl-C while a finetune trains: the first saves and ends after the step under way, a second ends at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interruption:
    """Whether the operator asked to end; `stop()` asks as Ctrl-C does."""

    wanted: bool = False

    def stop(self) -> None:
        """Ask to end after the step under way."""
        self.wanted = True

    def look(self) -> None:
        """Called between steps and evaluations; where the asking happens elsewhere, it is heard of here."""


@contextmanager
def interruption(on_first: Callable[[], None]) -> Iterator[Interruption]:
    """Catch SIGINT and SIGTERM meanwhile; the second is a KeyboardInterrupt.

    Args:
        on_first: called from the signal handler, so it must be short.
    """
    asked = Interruption()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.wanted:
            raise KeyboardInterrupt
        asked.stop()
        on_first()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
