"""The operator's routes: start a run, end it, open and close, and read what is stored.  All of them require the operator's key."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from wmkml.owner.context import OwnerContext
from wmkml.owner.http.chat_requests import language_error_as_refusal
from wmkml.owner.http.http_requests import SMALL_BODY_BYTES, read, require_key
from wmkml.protocol.opening import OpeningDecision, OpeningState, PanicSwitch
from wmkml.protocol.original import LanguageChoice
from wmkml.runs.store import SOURCES


def add_operator_routes(app: FastAPI, owner: OwnerContext) -> None:
    """Add the routes below `/operator/`, but for the stage's."""

    @app.post("/operator/start")
    async def start(request: Request) -> dict[str, str]:
        require_key(request, "operator", owner.keys.operator)
        message = await read(request, LanguageChoice, SMALL_BODY_BYTES)
        owner.opening.require_open()
        with language_error_as_refusal(owner):
            await owner.installation.start(message.language, via="operator", trusted=True, join=message.join)
        return {"status": "success"}

    @app.post("/operator/end")
    async def end(request: Request) -> dict[str, str]:
        require_key(request, "operator", owner.keys.operator)
        await owner.installation.end()
        return {"status": "success"}

    @app.post("/operator/opening")
    async def opening(request: Request) -> OpeningState:
        require_key(request, "operator", owner.keys.operator)
        await owner.opening.decide((await read(request, OpeningDecision, SMALL_BODY_BYTES)).decision)
        return owner.opening.state()

    @app.post("/operator/panic")
    async def panic(request: Request) -> OpeningState:
        require_key(request, "operator", owner.keys.operator)
        await owner.opening.set_panic((await read(request, PanicSwitch, SMALL_BODY_BYTES)).on)
        return owner.opening.state()

    @app.get("/operator/pairs")
    async def pairs(request: Request, words: bool = False) -> dict[str, Any]:
        require_key(request, "operator", owner.keys.operator)
        run = owner.installation.run
        counts = dict.fromkeys(SOURCES, 0) if run is None else run.store.pair_counts()
        if not words:
            return {"counts": counts}
        return {"counts": counts, "pairs": [] if run is None else run.store.all_pairs()}
