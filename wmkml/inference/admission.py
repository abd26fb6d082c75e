"""The order in which the engine begins answers: foreground ones at once, background ones a few at a time behind them, and
measured ones, which nobody needs, behind those.

The engine's own priorities are not enough: an engine finishes a prompt that it has begun to read (its prefill) before
it begins another, however urgent.  So the number of background prefills is limited, and none begins while a foreground
answer waits for its first token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeVar

Piece = TypeVar("Piece")

MEASURED_PART = 4
"""Of so many background answers at the same time one measured answer may be under way besides, and one at least."""


class Admission:
    """Wraps answers, given as iterators of pieces, so that each begins in its turn."""

    def __init__(self, max_answers: int, max_prefills: int) -> None:
        """Args:
        max_answers: background answers that are generated at the same time.
        max_prefills: background prompts that are read at the same time.
        """
        self._answers = asyncio.Semaphore(max_answers)
        self._prefills = asyncio.Semaphore(max_prefills)
        self._waiting = 0
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()
        self._measured = asyncio.Semaphore(max(1, max_answers // MEASURED_PART))
        self._background_waiting = 0
        self._no_background_waits = asyncio.Event()
        self._no_background_waits.set()

    async def admit_foreground(self, pieces: AsyncGenerator[Piece]) -> AsyncIterator[Piece]:
        """The pieces of an answer that begins at once; no background answer begins before its first piece is there."""
        self._waiting += 1
        self._nobody_waits.clear()
        waits = True
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if waits:
                        waits = False
                        self._end_wait()
                    yield piece
        finally:
            if waits:
                self._end_wait()

    async def admit_background(self, pieces: AsyncGenerator[Piece]) -> AsyncIterator[Piece]:
        """The pieces of an answer that begins when both limits allow it and no foreground answer waits."""
        async with aclosing(pieces):
            self._background_waiting += 1
            self._no_background_waits.clear()
            waits = True
            try:
                async with self._answers:
                    async with self._prefills:
                        await self._nobody_waits.wait()
                        first = await anext(pieces, None)
                    waits = False
                    self._end_background_wait()
                    if first is None:
                        return
                    yield first
                    async for piece in pieces:
                        yield piece
            finally:
                if waits:
                    self._end_background_wait()

    async def admit_measured(self, pieces: AsyncGenerator[Piece]) -> AsyncIterator[Piece]:
        """The pieces of an answer that begins when nobody else waits, neither in the foreground nor in the background."""
        async with self._measured, aclosing(pieces):
            first = await self._first_measured(pieces)
            if first is None:
                return
            yield first
            async for piece in pieces:
                yield piece

    async def _first_measured(self, pieces: AsyncGenerator[Piece]) -> Piece | None:
        while True:
            await self._no_background_waits.wait()
            async with self._prefills:
                await self._nobody_waits.wait()
                if not self._background_waiting:
                    return await anext(pieces, None)

    def _end_background_wait(self) -> None:
        self._background_waiting -= 1
        if not self._background_waiting:
            self._no_background_waits.set()

    def _end_wait(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._nobody_waits.set()
