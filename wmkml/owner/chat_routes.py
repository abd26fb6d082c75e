"""Our own doors for visitors: the streaming chat, what a page needs to show a conversation again, and the card."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse

from wmkml.owner.asking import asked, first_of, refused_answers
from wmkml.owner.cards import NoQuestion
from wmkml.owner.cards import Told as CardTold
from wmkml.owner.chat import Said
from wmkml.owner.events import server_sent
from wmkml.owner.parts import Owner
from wmkml.owner.reading import SMALL, Refusing, read, require_key
from wmkml.owner.stations import SHARED
from wmkml.wire import (
    CardAnswer,
    CardBegins,
    CardEnd,
    CardRequest,
    ChatEnd,
    ChatRequest,
    ChatStart,
    ChatToken,
    Refusal,
    StationWords,
)

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""No cache may keep a visitor's words, and no proxy may hold the tokens back."""

MOST_WITH_TOKENS = 50
"""Exchanges; a token with what else was nearly said takes some 400 bytes."""

NAMES: dict[type[Said | CardTold], str] = {
    ChatStart: "start",
    ChatToken: "token",
    ChatEnd: "end",
    CardBegins: "card",
    CardAnswer: "answer",
    CardEnd: "end",
}


def add_chat(app: FastAPI, owner: Owner) -> None:
    """Add `POST /chat`, `GET /station` and `POST /card`."""

    @app.post("/chat")
    async def chat(request: Request) -> StreamingResponse:
        message = await read(request, ChatRequest, owner.settings.general.max_prompt_bytes)
        answer = asked(owner, message.station, message.prompt, message.language, message.temperature, message.top_p)
        with refused_answers():
            first = await first_of(answer)
        return StreamingResponse(_sent(first, answer), media_type="text/event-stream", headers=STREAM_HEADERS)

    @app.get("/station")
    async def station(
        request: Request,
        station: Annotated[str, Query(max_length=64)] = SHARED,
        tokens: Annotated[int, Query(ge=0, le=MOST_WITH_TOKENS)] = 0,
    ) -> StationWords:
        if station == SHARED:  # whoever asks for nobody's words in particular would see those of all who share one
            require_key(request, "stage", owner.keys.stage, owner.keys.operator)
        run = None if owner.installation.life is None else owner.installation.life.run
        if run is None:
            return StationWords(language=None, exchanges=[])
        return StationWords(language=run.languages.get(station), exchanges=run.store.shown(station, tokens))

    @app.post("/card")
    async def card(request: Request) -> StreamingResponse:
        message = await read(request, CardRequest, SMALL)
        if message.station == SHARED:  # the first question of all who share one is nobody's own
            require_key(request, "stage", owner.keys.stage, owner.keys.operator)
        telling = owner.cards.make(owner.life().run, message.station)
        with refused_answers():
            try:
                first = await anext(telling)
            except NoQuestion:
                raise Refusing(409, "There is no question for a card yet: ask something first.") from None
        return StreamingResponse(_sent(first, telling), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _sent(first: Said | CardTold, more: AsyncIterator[Said | CardTold]) -> AsyncIterator[str]:
    yield server_sent(NAMES[type(first)], first)
    try:
        with refused_answers():
            async for said in more:
                yield server_sent(NAMES[type(said)], said)
    except Refusing as refusing:
        yield server_sent("error", Refusal(error=refusing.sentence))
