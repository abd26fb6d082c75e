"""Whether a worker is there: noted from its requests, told to everyone as a word."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from wmkml.owner.schema import Round

SILENT_SECONDS = 30.0
"""A worker that has not asked for anything for so long is away."""


class Workers:
    """Notes when a worker was last heard."""

    def __init__(self) -> None:
        self._heard: float | None = None
        self._asking = 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A worker's request is under way."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            self._heard = time.monotonic()

    def state(self, current: Round | None) -> Literal["ready", "training", "away"]:
        """What the worker does now."""
        if current is not None and current.status == "training":
            return "training"
        there = self._asking > 0 or (self._heard is not None and time.monotonic() - self._heard < SILENT_SECONDS)
        return "ready" if there else "away"
