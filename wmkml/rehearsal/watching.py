"""Follows the run from outside: the owner's event stream, with the time at which each thing was heard.

Knows the events' names and nothing of visitors.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import httpx_sse

from wmkml.wire import RoundRecord, RunState, SwapEvent

RECONNECT_SECONDS = 0.5


@dataclass
class Watch:
    """What was heard of the run.  Times are `time.perf_counter()` seconds.

    Attributes:
        state: the newest state of the run.
        began: for each iteration, when each status of its round was first heard.
        swaps: when each swap was heard, and what it said.
        steps: for each iteration, how many optimizer steps were heard.
    """

    state: RunState
    began: dict[int, dict[str, float]] = field(default_factory=dict)
    swaps: list[tuple[float, SwapEvent]] = field(default_factory=list)
    last_words: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def disturbances(self) -> list[tuple[float, float]]:
        """The times at which an adapter was loaded or taken into use: what a stream under way may feel.

        Loading lies between the hand-in and the hold (or the switch, where nothing was held); the switch is a moment.
        """
        spans = []
        for heard, swap in self.swaps:
            began = self.began.get(swap.iteration, {})
            handed_in = began.get("handed_in", heard - swap.swap_seconds)
            spans.append((min(handed_in, heard), min(began.get("held", heard), heard)))
            spans.append((heard, heard))
        return spans


async def follow(
    client: httpx.AsyncClient,
    key: str,
    watch: Watch,
    *,
    on_swap: Callable[[SwapEvent], None],
    on_round: Callable[[RoundRecord], None],
) -> None:
    """Read `GET /events` until the run has ended; comes back to where it was when the connection breaks.

    Raises:
        httpx.HTTPStatusError: the owner refuses the key.
    """
    last_id = ""
    while not watch.ended.is_set():
        headers = {"X-Key": key} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            async with httpx_sse.aconnect_sse(client, "GET", "/events", headers=headers, timeout=60) as source:
                source.response.raise_for_status()
                async for event in source.aiter_sse():
                    last_id = event.id or last_id
                    _heard(watch, event, on_swap, on_round)
                    if watch.ended.is_set():
                        return
        except httpx.TransportError:
            # The owner may be restarted under our eyes; that it comes back is judged by what follows.
            await asyncio.sleep(RECONNECT_SECONDS)


def _heard(
    watch: Watch,
    event: httpx_sse.ServerSentEvent,
    on_swap: Callable[[SwapEvent], None],
    on_round: Callable[[RoundRecord], None],
) -> None:
    now = time.perf_counter()
    match event.event:
        case "state":
            watch.state = RunState.model_validate_json(event.data)
        case "round":
            record = RoundRecord.model_validate_json(event.data)
            times = watch.began.setdefault(record.iteration, {})
            if record.status not in times:
                times[record.status] = now
                on_round(record)
        case "swap":
            swap = SwapEvent.model_validate_json(event.data)
            watch.swaps.append((now, swap))
            on_swap(swap)
        case "last_words":
            watch.last_words.set()
        case "run_end":
            watch.ended.set()
        case _:
            pass
