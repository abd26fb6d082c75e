"""The run's public state: `/healthz`, `/state`, and the event stream `/events`.

`/events` of one station needs no key; the stream of all stations' words requires the stage's.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse

from wmkml.owner.answers.conversations import SHARED_STATION
from wmkml.owner.context import OwnerContext
from wmkml.owner.http.chat_routes import STREAM_HEADERS
from wmkml.owner.http.stage_access import require_stage_key
from wmkml.protocol.events import PastEvent
from wmkml.protocol.run_state import RunState


def add_state_routes(app: FastAPI, owner: OwnerContext) -> None:
    """Add the routes."""

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        state = owner.run_state()
        return {"ok": True, "phase": state.phase, "inference": state.inference, "worker": state.worker}

    @app.get("/state")
    async def run_state() -> RunState:
        return owner.run_state()

    @app.get("/events")
    async def events(
        request: Request, station: Annotated[str | None, Query(max_length=64)] = None, past: bool = False
    ) -> StreamingResponse:
        if station is None or station == SHARED_STATION:
            require_stage_key(request, owner.keys)
        last_event_id = request.headers.get("last-event-id")
        return StreamingResponse(
            owner.hub.subscribe(station, last_event_id, owner.run_state, _past_event if past else None),
            media_type="text/event-stream",
            headers=STREAM_HEADERS,
        )


def _past_event(events: int) -> PastEvent:
    return PastEvent(events=events)
