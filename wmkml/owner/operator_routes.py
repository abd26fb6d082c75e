"""The operator's doors: start a run, end it, and see what is stored."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request

from wmkml.owner.asking import refused_language
from wmkml.owner.parts import Owner
from wmkml.owner.reading import SMALL, read, require_key
from wmkml.runs.store import SOURCES
from wmkml.wire import LanguageChoice


def add_operator(app: FastAPI, owner: Owner) -> None:
    """Add the routes; every one of them wants the operator's key."""

    @app.post("/operator/start")
    async def start(request: Request) -> dict[str, str]:
        require_key(request, "operator", owner.keys.operator)
        message = await read(request, LanguageChoice, SMALL)
        with refused_language(owner):
            await owner.installation.start(message.language, door="operator", trusted=True, join=message.join)
        return {"status": "success"}

    @app.post("/operator/end")
    async def end(request: Request) -> dict[str, str]:
        require_key(request, "operator", owner.keys.operator)
        await owner.installation.end()
        return {"status": "success"}

    @app.get("/operator/pairs")
    async def pairs(request: Request, words: bool = False) -> dict[str, Any]:
        require_key(request, "operator", owner.keys.operator)
        life = owner.installation.life
        counts = dict.fromkeys(SOURCES, 0) if life is None else life.run.store.counts()
        if not words:
            return {"counts": counts}
        return {"counts": counts, "pairs": [] if life is None else life.run.store.all_pairs()}
