"""The event stream: who listens, what they may hear, and what they missed while their connection was gone.

Server-sent events as the HTML Living Standard, section 9.2, has them.  A listener that is too slow is dropped, and
resumes with `Last-Event-ID`; nobody waits for it.  Knows nothing of runs: names and data come from whoever publishes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from pydantic import BaseModel

KEPT_EVENTS = 4096
"""So many of the newest events can be resumed from: minutes of several stations' tokens."""

WAITING_EVENTS = 1024
"""A listener that is so many events behind is dropped."""

KEEP_ALIVE_SECONDS = 15.0


@dataclass(frozen=True)
class Event:
    """One event.  `station` is whose words it holds; none for the run's own, which everybody hears."""

    number: int
    name: str
    data: str
    station: str | None


def server_sent(name: str, message: BaseModel, event_id: str | None = None) -> str:
    """An event as it goes over the wire."""
    return _sent(name, message.model_dump_json(), event_id)


def _sent(name: str, data: str, event_id: str | None) -> str:
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {data}\n\n"


class Hub:
    """Takes events from the owner's parts and gives each listener what it may hear."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(4)  # numbers of another owner process mean nothing here
        self._number = 0
        self._standing: dict[str, Event] = {}
        self._kept: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._listeners: dict[asyncio.Queue[Event | None], str | None] = {}

    def publish(self, name: str, message: BaseModel, station: str | None = None) -> None:
        """Tell everybody who may hear it; returns at once."""
        self._number += 1
        event = Event(self._number, name, message.model_dump_json(), station)
        self._kept.append(event)
        for queue, listens_to in list(self._listeners.items()):
            if not _may_hear(event, listens_to):
                continue
            if queue.qsize() >= WAITING_EVENTS:
                del self._listeners[queue]
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def stand(self, name: str, message: BaseModel, *, stands: bool) -> None:
        """Tell everybody, and, while it stands, everybody who begins to listen later."""
        self.publish(name, message)
        self._standing.pop(name, None)
        if stands:
            self._standing[name] = self._kept[-1]

    def forget(self) -> None:
        """A run is over: keep none of its words for those who come back later."""
        self._kept.clear()

    def close(self) -> None:
        """End every stream."""
        for queue in self._listeners:
            queue.put_nowait(None)
        self._listeners.clear()

    def stages(self) -> int:
        """How many listen to everybody's words: the stage, and a window in the room."""
        return sum(station is None for station in self._listeners.values())

    def stations(self) -> set[str]:
        """The stations that listen now."""
        return {station for station in self._listeners.values() if station is not None}

    async def listen(
        self,
        station: str | None,
        last_event_id: str | None,
        state: Callable[[], BaseModel],
        past: Callable[[int], BaseModel] | None = None,
    ) -> AsyncIterator[str]:
        """What a listener receives: the state first, what it missed if that is known, then everything as it happens.

        Args:
            station: whose words to hear besides the run's own events; none: everybody's (the caller checked the key).
            last_event_id: what a listener that comes back heard last.  One of an owner process before this one, or too
                old, gives the state alone.
            state: gives the state event's message.
            past: whoever comes anew hears what was said before, as far as it is kept: first `past`, whose message this
                gives for a number of events, then those events.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        missed = [event for event in self._missed(last_event_id) if _may_hear(event, station)]
        anew = past is not None and not self._knows(last_event_id)
        said = (
            [event for event in self._kept if event.station is not None and _may_hear(event, station)] if anew else []
        )
        self._listeners[queue] = station
        try:
            # Without an id of its own: resuming from it would skip what is sent next.
            yield _sent("state", state().model_dump_json(), None if missed else self._id(self._number))
            for event in list(self._standing.values()):  # it may change while one of them is being sent
                yield _sent(event.name, event.data, None)
            if past is not None and said:
                yield _sent("past", past(len(said)).model_dump_json(), None)
                for event in said:
                    yield _sent(event.name, event.data, None)
            for event in missed:
                yield _sent(event.name, event.data, self._id(event.number))
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        waiting = await queue.get()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if waiting is None:
                    return
                yield _sent(waiting.name, waiting.data, self._id(waiting.number))
        finally:
            self._listeners.pop(queue, None)

    def _knows(self, event_id: str | None) -> bool:
        """Whether everything after this event is kept."""
        start, _, number = (event_id or "").partition("-")
        if start != self._start or not number.isdecimal():
            return False
        return not self._kept or self._kept[0].number <= int(number) + 1

    def _missed(self, last_event_id: str | None) -> list[Event]:
        if last_event_id is None or not self._knows(last_event_id):
            return []
        number = int(last_event_id.partition("-")[2])
        return [event for event in self._kept if event.number > number]

    def _id(self, number: int) -> str:
        return f"{self._start}-{number}"


def _may_hear(event: Event, listens_to: str | None) -> bool:
    return event.station is None or listens_to is None or event.station == listens_to
