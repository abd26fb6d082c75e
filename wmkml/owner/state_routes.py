"""What everyone may know of the run: `/healthz`, `/state`, and the event stream `/events`."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse

from wmkml.owner.chat_routes import STREAM_HEADERS
from wmkml.owner.parts import Owner, state
from wmkml.owner.stage_access import require_stage
from wmkml.owner.stations import SHARED
from wmkml.owner.telling import PastTold
from wmkml.wire import RunState


def add_state(app: FastAPI, owner: Owner) -> None:
    """Add the routes."""

    def now() -> RunState:
        return state(
            owner.settings, owner.installation, owner.watch, owner.workers, owner.hub, list(owner.herald.notices)
        )

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        known = now()
        return {"ok": True, "phase": known.phase, "inference": known.inference, "worker": known.worker}

    @app.get("/state")
    async def run_state() -> RunState:
        return now()

    @app.get("/events")
    async def events(
        request: Request, station: Annotated[str | None, Query(max_length=64)] = None, past: bool = False
    ) -> StreamingResponse:
        if station is None or station == SHARED:
            require_stage(request, owner.keys)
        last = request.headers.get("last-event-id")
        return StreamingResponse(
            owner.hub.listen(station, last, now, _past if past else None),
            media_type="text/event-stream",
            headers=STREAM_HEADERS,
        )


def _past(events: int) -> PastTold:
    return PastTold(events=events)
