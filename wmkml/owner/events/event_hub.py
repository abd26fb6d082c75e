"""The event stream: delivers each event to the listeners that may receive it, and resumes broken connections.

The format is server-sent events (HTML Living Standard, section 9.2).  A listener that is too slow is disconnected, so
that publishing never waits; it resumes with `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from pydantic import BaseModel

HISTORY_EVENTS = 4096
"""How many of the newest events are kept for listeners that resume: minutes of several stations' tokens."""

MAX_QUEUED_EVENTS = 1024
"""A listener with this many unsent events is disconnected."""

MAX_DIGITS = 18
"""Of an event's number; Python refuses to read one of more than 4,300."""

KEEP_ALIVE_SECONDS = 15.0
"""A comment is sent after this long without an event, so that proxies do not close the connection."""


@dataclass(frozen=True)
class Event:
    """One event.  `data` is JSON; `station` is the one whose words it holds, none for events that all may receive."""

    number: int
    name: str
    data: str
    station: str | None


def format_event(name: str, message: BaseModel, event_id: str | None = None) -> str:
    """An event in the wire format of server-sent events."""
    return _format(name, message.model_dump_json(), event_id)


def _format(name: str, data: str, event_id: str | None) -> str:
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {data}\n\n"


class EventHub:
    """Distributes published events to the listeners."""

    def __init__(self) -> None:
        self._process_id = secrets.token_hex(4)  # part of every event id, since a new owner process counts from 1 again
        self._number = 0
        self._retained: dict[str, Event] = {}
        self._history: deque[Event] = deque(maxlen=HISTORY_EVENTS)
        self._listeners: dict[asyncio.Queue[Event | None], str | None] = {}
        """The station whose words each listener receives, none for all; None in a queue ends its stream."""

    def publish(self, name: str, message: BaseModel, station: str | None = None) -> None:
        """Send an event to all listeners that may receive it; returns at once.

        Args:
            station: the one whose words the message holds; none if it holds no visitor's word.
        """
        self._number += 1
        event = Event(self._number, name, message.model_dump_json(), station)
        self._history.append(event)
        for queue, listener_station in list(self._listeners.items()):
            if not _may_receive(event, listener_station):
                continue
            if queue.qsize() >= MAX_QUEUED_EVENTS:
                del self._listeners[queue]
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def publish_retained(self, name: str, message: BaseModel, *, retain: bool) -> None:
        """Send an event to all listeners; with `retain`, also to later ones, until one of this name replaces it."""
        self.publish(name, message)
        self._retained.pop(name, None)
        if retain:
            self._retained[name] = self._history[-1]

    def clear_history(self) -> None:
        """Forget the past events, and the words in them; listeners can no longer resume from them."""
        self._history.clear()

    def forget(self, station: str) -> None:
        """Forget the past events of one station, and the words in them."""
        kept = [event for event in self._history if event.station != station]
        self._history.clear()
        self._history.extend(kept)

    def close(self) -> None:
        """End every stream."""
        for queue in self._listeners:
            queue.put_nowait(None)
        self._listeners.clear()

    def end_streams_of_all_words(self) -> None:
        """End the streams that needed a key; whoever still has one comes back."""
        for queue in [queue for queue, station in self._listeners.items() if station is None]:
            del self._listeners[queue]
            queue.put_nowait(None)

    def count_stage_listeners(self) -> int:
        """The number of listeners that receive all stations' words, such as the stage."""
        return sum(station is None for station in self._listeners.values())

    def listening_stations(self) -> set[str]:
        """The stations that listen now."""
        return {station for station in self._listeners.values() if station is not None}

    async def subscribe(
        self,
        station: str | None,
        last_event_id: str | None,
        state: Callable[[], BaseModel],
        past: Callable[[int], BaseModel] | None = None,
    ) -> AsyncIterator[str]:
        """One listener's stream, in wire format.

        It begins with the state, retained events, and missed or past ones; then come events as they are published.

        Args:
            station: the station whose words it receives, besides the events that all may receive; none: all stations'
                words (the caller has checked the key).
            last_event_id: the last event the listener received, if it resumes.  With an id of another owner process,
                or one older than the history, it misses nothing but receives the state alone.
            state: returns the message of the state event.
            past: if given, a listener that does not resume receives the words in the history, after an event `past`,
                whose message this function returns for their number.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        missed = [event for event in self._missed(last_event_id) if _may_receive(event, station)]
        past_events = []
        if past is not None and not self._can_resume_from(last_event_id):
            past_events = [
                event for event in self._history if event.station is not None and _may_receive(event, station)
            ]
        self._listeners[queue] = station
        try:
            # Before missed events it has no id: a listener that resumed from it would skip them.
            yield _format("state", state().model_dump_json(), None if missed else self._id(self._number))
            for event in list(self._retained.values()):  # a copy, since it may change while events are sent
                yield _format(event.name, event.data, None)
            if past is not None and past_events:
                yield _format("past", past(len(past_events)).model_dump_json(), None)
                for event in past_events:
                    yield _format(event.name, event.data, None)
            for event in missed:
                yield _format(event.name, event.data, self._id(event.number))
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        next_event = await queue.get()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if next_event is None:
                    return
                yield _format(next_event.name, next_event.data, self._id(next_event.number))
        finally:
            self._listeners.pop(queue, None)

    def _can_resume_from(self, event_id: str | None) -> bool:
        """Whether the history holds all events after this one."""
        process_id, _, number = (event_id or "").partition("-")
        if process_id != self._process_id or not number.isdecimal() or len(number) > MAX_DIGITS:
            return False
        return not self._history or self._history[0].number <= int(number) + 1

    def _missed(self, last_event_id: str | None) -> list[Event]:
        if last_event_id is None or not self._can_resume_from(last_event_id):
            return []
        number = int(last_event_id.partition("-")[2])
        return [event for event in self._history if event.number > number]

    def _id(self, number: int) -> str:
        return f"{self._process_id}-{number}"


def _may_receive(event: Event, listener_station: str | None) -> bool:
    return event.station is None or listener_station is None or event.station == listener_station
