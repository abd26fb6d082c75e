"""Who may have the engine read a prompt now: whoever waits for an answer at once, the background when nobody else does.

Priority alone is not enough: an engine goes on reading a prompt that it has half read before it begins another's, however urgent.
So prompts of the background are begun a few at a time, and none while somebody waits for a first token.  Knows no engine and no
request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeVar

Piece = TypeVar("Piece")


class Turns:
    """The order in which answers are begun."""

    def __init__(self, background: int, reading: int) -> None:
        """Args:
        background: so many answers of the background are made at the same time.
        reading: so many of their prompts are read at the same time.
        """
        self._background = asyncio.Semaphore(background)
        self._reading = asyncio.Semaphore(reading)
        self._waiting = 0
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()

    async def at_once(self, pieces: AsyncGenerator[Piece]) -> AsyncIterator[Piece]:
        """The pieces for somebody who waits; until the first one is there, nothing is begun in the background."""
        self._waiting += 1
        self._nobody_waits.clear()
        waits = True
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if waits:
                        waits = False
                        self._answered()
                    yield piece
        finally:
            if waits:
                self._answered()

    async def in_turn(self, pieces: AsyncGenerator[Piece]) -> AsyncIterator[Piece]:
        """The pieces of an answer in the background, begun in its turn."""
        async with self._background, aclosing(pieces):
            async with self._reading:
                await self._nobody_waits.wait()
                first = await anext(pieces, None)
            if first is None:
                return
            yield first
            async for piece in pieces:
                yield piece

    def _answered(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._nobody_waits.set()
