"""Whose prompt is next: stations take turns, and one station has at most so many prompts under way.

So a station that asks two hundred things at once waits for itself, not the others for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

MAX_WAITING_PROMPTS = 256
"""The most prompts of one station that wait; several visitors may share one, at the original's door."""

PLACE_SECONDS = 1.0
"""How often a prompt that waits is told its place.  Who waits for less is told nothing."""


class TooManyPromptsError(RuntimeError):
    """MAX_WAITING_PROMPTS prompts of this station wait already."""


class StationTurns:
    """The prompts that are being answered, and those that wait."""

    def __init__(self, most: int, most_of_station: int) -> None:
        """Args:
        most: prompts that are answered at the same time.
        most_of_station: as many of them of one station; 0: no limit.
        """
        self._most, self._most_of_station = most, most_of_station or most
        self._under_way: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By station, the one whose turn it is next first."""

    @asynccontextmanager
    async def turn(self, station: str, on_place: Callable[[int], None] | None = None) -> AsyncIterator[None]:
        """Wait for the station's turn, and hold it within this context.

        Args:
            on_place: called with the number of prompts that come before this one, whenever that has changed, at most once
                in PLACE_SECONDS.

        Raises:
            TooManyPromptsError: too many of its prompts wait already.
        """
        await self._acquire(station, on_place)
        try:
            yield
        finally:
            self._release(station)

    async def _acquire(self, station: str, on_place: Callable[[int], None] | None) -> None:
        if station not in self._waiting and self._may_begin(station):
            self._under_way[station] += 1
            return
        queue = self._waiting.setdefault(station, deque())
        if len(queue) >= MAX_WAITING_PROMPTS:
            raise TooManyPromptsError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        place = -1
        try:
            while not (await asyncio.wait([turn], timeout=PLACE_SECONDS))[0]:
                if on_place is not None and (before := self._before(station, turn)) != place:
                    place = before
                    on_place(place)
        except asyncio.CancelledError:
            if turn.done():  # it was given the turn at the moment its visitor left
                self._release(station)
            else:
                self._forget(station, turn)
            raise

    def _release(self, station: str) -> None:
        self._under_way[station] -= 1
        if not self._under_way[station]:
            del self._under_way[station]
        while (following := next((name for name in self._waiting if self._may_begin(name)), None)) is not None:
            queue = self._waiting.pop(following)
            turn = queue.popleft()
            if queue:
                self._waiting[following] = queue  # at the end: every other station is before its next prompt
            self._under_way[following] += 1
            turn.set_result(None)

    def _before(self, station: str, turn: asyncio.Future[None]) -> int:
        """How many prompts are answered before one that waits, if all keep their turns."""
        place = self._waiting[station].index(turn)
        before, rounds = place, place + 1
        for name, queue in self._waiting.items():
            if name == station:
                rounds = place  # the stations behind it come after it, once in each round
            else:
                before += min(len(queue), rounds)
        return before

    def _forget(self, station: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(station)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[station]

    def _may_begin(self, station: str) -> bool:
        return self._under_way.total() < self._most and self._under_way[station] < self._most_of_station
