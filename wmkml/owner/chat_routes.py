"""Our own doors for visitors: the streaming chat, and what a page needs to show a conversation again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse

from wmkml.owner.asking import asked, first_of, refused_answers
from wmkml.owner.chat import Said
from wmkml.owner.events import server_sent
from wmkml.owner.parts import Owner
from wmkml.owner.reading import Refusing, read, require_key
from wmkml.owner.stations import SHARED
from wmkml.wire import ChatEnd, ChatRequest, ChatStart, ChatToken, Refusal, StationWords

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""No cache may keep a visitor's words, and no proxy may hold the tokens back."""

NAMES = {ChatStart: "start", ChatToken: "token", ChatEnd: "end"}


def add_chat(app: FastAPI, owner: Owner) -> None:
    """Add `POST /chat` and `GET /station`."""

    @app.post("/chat")
    async def chat(request: Request) -> StreamingResponse:
        message = await read(request, ChatRequest, owner.settings.general.max_prompt_bytes)
        answer = asked(owner, message.station, message.prompt, message.language, message.temperature, message.top_p)
        with refused_answers():
            first = await first_of(answer)
        return StreamingResponse(_sent(first, answer), media_type="text/event-stream", headers=STREAM_HEADERS)

    @app.get("/station")
    async def station(request: Request, station: Annotated[str, Query(max_length=64)] = SHARED) -> StationWords:
        if station == SHARED:  # whoever asks for nobody's words in particular would see those of all who share one
            require_key(request, "stage", owner.keys.stage, owner.keys.operator)
        run = None if owner.installation.life is None else owner.installation.life.run
        if run is None:
            return StationWords(language=None, exchanges=[])
        return StationWords(language=run.languages.get(station), exchanges=run.store.exchanges(station))


async def _sent(first: ChatStart, answer: AsyncIterator[Said]) -> AsyncIterator[str]:
    yield server_sent("start", first)
    try:
        with refused_answers():
            async for said in answer:
                yield server_sent(NAMES[type(said)], said)
    except Refusing as refusing:
        yield server_sent("error", Refusal(error=refusing.sentence))
