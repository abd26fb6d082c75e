"""What a rehearsal observes of the run from outside: the owner's event stream, with the time of each event."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import httpx_sse

from wmkml.protocol.run_state import IterationMeasures, RoundRecord, RunState, SwapEvent
from wmkml.rehearsal.recording import Event

RECONNECT_SECONDS = 0.5
"""Pause before the event stream is opened again."""

SILENCE_SECONDS = 60.0
"""Read timeout of the event stream; the owner's keep-alive comments come more often."""


@dataclass
class RunObservation:
    """What was observed of the run.  Times are `time.perf_counter()` seconds.

    Attributes:
        state: the newest state of the run.
        status_times: for each iteration, when each status of its round was first received.
        swaps: each swap with the time at which it was received.
        swap_due: set while a swap is due: see `is_swap_due()`.
        measures: what was measured once of each iteration, by the measure's name.
        last_words: set when the last words begin.
        ended: set when the run is over.
        events: every event so far, for `recording.py`; None: they are not kept.
    """

    state: RunState
    status_times: dict[int, dict[str, float]] = field(default_factory=dict)
    swaps: list[tuple[float, SwapEvent]] = field(default_factory=list)
    measures: dict[int, dict[str, float | None]] = field(default_factory=dict)
    swap_due: asyncio.Event = field(default_factory=asyncio.Event)
    last_words: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    events: list[Event] | None = None

    def disturbances(self) -> list[tuple[float, float]]:
        """The (begin, end) spans in which an adapter was loaded or swapped in, and a stream under way may be slowed.

        Loading lasts from the hand-in to the hold, or to the swap where nothing was held; the swap is a moment.
        """
        spans = []
        for swapped_at, swap in self.swaps:
            times = self.status_times.get(swap.iteration, {})
            handed_in = times.get("handed_in", swapped_at - swap.swap_seconds)
            spans.append((min(handed_in, swapped_at), min(times.get("held", swapped_at), swapped_at)))
            spans.append((swapped_at, swapped_at))
        return spans

    def record_measures(self, measured: IterationMeasures) -> None:
        """Add what was measured of an iteration to what is known of it."""
        self.measures.setdefault(measured.iteration, {}).update(measured.values)


def is_swap_due(record: RoundRecord) -> bool:
    """Whether the round has made its last optimizer step and its adapter does not answer yet."""
    is_trained = record.status == "training" and 0 < record.steps <= record.step
    return is_trained or record.status in ("handed_in", "held")


async def follow_events(
    client: httpx.AsyncClient,
    key: str,
    observation: RunObservation,
    *,
    on_swap: Callable[[SwapEvent], None],
    on_round: Callable[[RoundRecord], None],
) -> None:
    """Record `GET /events` until the run has ended; reconnects after the last event received.

    Raises:
        httpx.HTTPStatusError: the owner refuses the key.
    """
    last_id = ""
    while not observation.ended.is_set():
        headers = {"X-Key": key} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            async with httpx_sse.aconnect_sse(
                client, "GET", "/events", headers=headers, timeout=SILENCE_SECONDS
            ) as source:
                source.response.raise_for_status()
                async for event in source.aiter_sse():
                    last_id = event.id or last_id
                    _record_event(observation, event, on_swap, on_round)
                    if observation.ended.is_set():
                        return
        except httpx.TransportError:
            # The owner may be restarted during a rehearsal; whether the run survives it is for the checks.
            await asyncio.sleep(RECONNECT_SECONDS)


def _record_event(
    observation: RunObservation,
    event: httpx_sse.ServerSentEvent,
    on_swap: Callable[[SwapEvent], None],
    on_round: Callable[[RoundRecord], None],
) -> None:
    now = time.perf_counter()
    if observation.events is not None:
        observation.events.append((now, event.event, json.loads(event.data)))
    match event.event:
        case "state":
            observation.state = state = RunState.model_validate_json(event.data)
            if state.measured is not None:  # also what was told while this stream was broken off
                observation.record_measures(state.measured)
        case "measures":
            observation.record_measures(IterationMeasures.model_validate_json(event.data))
        case "round":
            record = RoundRecord.model_validate_json(event.data)
            if is_swap_due(record):
                observation.swap_due.set()
            else:
                observation.swap_due.clear()
            times = observation.status_times.setdefault(record.iteration, {})
            if record.status not in times:
                times[record.status] = now
                on_round(record)
        case "swap":
            swap = SwapEvent.model_validate_json(event.data)
            observation.swaps.append((now, swap))
            on_swap(swap)
        case "last_words":
            observation.last_words.set()
        case "run_end":
            observation.ended.set()
        case _:
            pass
