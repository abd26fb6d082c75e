"""Whose prompt is next: stations take turns in the order in which they came, and one has at most so many prompts under way.

So a station that asks two hundred things at once waits for itself, not the others for it.  A station whose prompt ended
without an answer, as where a connection broke off, has its place again if it asks again soon.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

MAX_WAITING_PROMPTS = 256
"""The most prompts of one station that wait; several visitors may share one, at the original's door."""

PLACE_SECONDS = 1.0
"""How often a prompt that waits is told its place.  Who waits for less is told nothing."""

KEPT_SECONDS = 30.0
"""How long a place is kept for a station that asks again; the visitor's page does so within two seconds."""

MAX_KEPT_PLACES = 1000
"""The most places that are kept; the oldest goes first."""


class TooManyPromptsError(RuntimeError):
    """MAX_WAITING_PROMPTS prompts of this station wait already."""


@dataclass(frozen=True, order=True)
class _Ticket:
    """A place in the line.  `used`: it was kept for a station that had been given its turn."""

    number: int
    used: bool = False


@dataclass
class _Line:
    """The prompts of one station that wait.  `ticket`: of the first of them."""

    ticket: _Ticket
    turns: deque[asyncio.Future[_Ticket]] = field(default_factory=deque)


@dataclass(frozen=True)
class _KeptPlace:
    """The place of a station that left without an answer.  `until`: monotonic time, in seconds."""

    ticket: _Ticket
    until: float


class StationTurns:
    """The prompts that are being answered, and those that wait.

    Tickets have numbers that rise; of the stations that may begin, the one with the lowest is next.  With each turn a station
    draws another for its next prompt, so that every other station comes before it.
    """

    def __init__(self, most: int, most_of_station: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        most: prompts that are answered at the same time.
        most_of_station: as many of them of one station; 0: no limit.
        clock: monotonic time, in seconds.
        """
        self._most, self._most_of_station, self._clock = most, most_of_station or most, clock
        self._under_way: Counter[str] = Counter()
        self._waiting: dict[str, _Line] = {}
        self._numbers = itertools.count()
        self._kept: dict[str, _KeptPlace] = {}

    @asynccontextmanager
    async def turn(self, station: str, on_place: Callable[[int], None] | None = None) -> AsyncIterator[None]:
        """Wait for the station's turn, and hold it within this context.

        Leaving it by an exception keeps the station's place for KEPT_SECONDS.

        Args:
            on_place: called with the number of prompts that come before this one, whenever that has changed, at most once
                in PLACE_SECONDS.

        Raises:
            TooManyPromptsError: too many of its prompts wait already.
        """
        kept = self._kept.pop(station, None)
        drawn = self._draw() if kept is None or kept.until < self._clock() else kept.ticket
        ticket = await self._acquire(station, drawn, on_place)
        try:
            yield
        except BaseException:
            # Not a second time: who leaves at the first word, again and again, would be before everybody for ever.
            if not ticket.used:
                self._keep(station, replace(ticket, used=True))
            raise
        finally:
            self._release(station)

    def _draw(self) -> _Ticket:
        return _Ticket(next(self._numbers))

    async def _acquire(self, station: str, ticket: _Ticket, on_place: Callable[[int], None] | None) -> _Ticket:
        """Returns the ticket that the turn was given to."""
        if station not in self._waiting and self._may_begin(station):
            self._under_way[station] += 1
            return ticket
        line = self._waiting.setdefault(station, _Line(ticket))
        line.ticket = min(line.ticket, ticket)
        if len(line.turns) >= MAX_WAITING_PROMPTS:
            raise TooManyPromptsError
        turn: asyncio.Future[_Ticket] = asyncio.get_running_loop().create_future()
        line.turns.append(turn)
        place = -1
        try:
            while not (await asyncio.wait([turn], timeout=PLACE_SECONDS))[0]:
                if on_place is not None and (before := self._before(station, turn)) != place:
                    place = before
                    on_place(place)
        except asyncio.CancelledError:
            if turn.done():  # it was given the turn at the moment its visitor left
                self._keep(station, turn.result())
                self._release(station)
            else:
                self._forget(station, turn)
            raise
        return turn.result()

    def _release(self, station: str) -> None:
        self._under_way[station] -= 1
        if not self._under_way[station]:
            del self._under_way[station]
        while ready := [name for name in self._waiting if self._may_begin(name)]:
            following = min(ready, key=lambda name: self._waiting[name].ticket)
            line = self._waiting[following]
            turn, ticket = line.turns.popleft(), line.ticket
            if line.turns:
                line.ticket = self._draw()  # every other station is before its next prompt
            else:
                del self._waiting[following]
            self._under_way[following] += 1
            turn.set_result(ticket)

    def _before(self, station: str, turn: asyncio.Future[_Ticket]) -> int:
        """How many prompts are answered before one that waits, if all keep their turns."""
        own = self._waiting[station]
        place = own.turns.index(turn)
        # The stations behind it come after it, once in each round; those before it once more.
        return place + sum(
            min(len(line.turns), place + (line.ticket < own.ticket))
            for line in self._waiting.values()
            if line is not own
        )

    def _forget(self, station: str, turn: asyncio.Future[_Ticket]) -> None:
        line = self._waiting.get(station)
        if line is not None and turn in line.turns:
            line.turns.remove(turn)
            if not line.turns:
                del self._waiting[station]
                self._keep(station, line.ticket)

    def _keep(self, station: str, ticket: _Ticket) -> None:
        """Keep a place for a station that left."""
        self._kept.pop(station, None)
        self._kept[station] = _KeptPlace(ticket, self._clock() + KEPT_SECONDS)
        if len(self._kept) > MAX_KEPT_PLACES:
            del self._kept[next(iter(self._kept))]

    def _may_begin(self, station: str) -> bool:
        return self._under_way.total() < self._most and self._under_way[station] < self._most_of_station
