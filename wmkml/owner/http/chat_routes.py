"""Our own routes for visitors: the streaming chat, a station's past conversation, and the take-home card."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import StreamingResponse

from wmkml.owner.answers.cards import CardEvent, NoQuestionError
from wmkml.owner.answers.chat import ChatEvent
from wmkml.owner.answers.conversations import SHARED_STATION
from wmkml.owner.answers.visible_tokens import visible_answer, visible_tokens
from wmkml.owner.context import OwnerContext
from wmkml.owner.events.event_hub import format_event
from wmkml.owner.events.kept_alive import done_soon, kept_alive
from wmkml.owner.http.chat_requests import answer_errors_as_refusals, start_answer
from wmkml.owner.http.http_requests import SMALL_BODY_BYTES, read, require_key
from wmkml.protocol.base import Refusal, RequestRefusedError
from wmkml.protocol.conversation import (
    CardAnswer,
    CardBegins,
    CardEnd,
    CardRequest,
    ChatEnd,
    ChatQueued,
    ChatRequest,
    ChatStart,
    ChatToken,
    ForgetReply,
    ForgetRequest,
    StationWords,
)

STREAM_HEADERS = {"X-Accel-Buffering": "no"}
"""Proxies must not buffer the tokens."""

MAX_EXCHANGES_WITH_TOKENS = 50
"""The most exchanges sent with their tokens in one reply; a token with its alternatives takes some 400 bytes."""

EVENT_NAMES: dict[type[ChatEvent | CardEvent], str] = {
    ChatQueued: "queued",
    ChatStart: "start",
    ChatToken: "token",
    ChatEnd: "end",
    CardBegins: "card",
    CardAnswer: "answer",
    CardEnd: "end",
}
"""The name in the event stream of each message."""


def add_chat_routes(app: FastAPI, owner: OwnerContext) -> None:
    """Add `POST /chat`, `GET /station`, `POST /forget` and `POST /card`."""

    @app.post("/chat")
    async def chat(request: Request) -> StreamingResponse:
        message = await read(request, ChatRequest, owner.settings.general.max_prompt_bytes)
        answer = start_answer(
            owner, message.station, message.prompt, message.language, message.temperature, message.top_p
        )
        first = asyncio.ensure_future(anext(answer))
        if await done_soon(first):
            # While the status is not sent yet, a refusal is one.
            with answer_errors_as_refusals():
                first.result()
        return _stream(first, answer)

    @app.get("/station")
    async def station(
        request: Request,
        station: Annotated[str, Query(max_length=64)] = SHARED_STATION,
        tokens: Annotated[int, Query(ge=0, le=MAX_EXCHANGES_WITH_TOKENS)] = 0,
    ) -> StationWords:
        if station == SHARED_STATION:  # the shared station holds the words of several visitors
            require_key(request, "stage", owner.keys.stage, owner.keys.operator)
        run = owner.installation.run
        if run is None:
            return StationWords(language=None, exchanges=[])
        words = owner.safeguards.visitor
        exchanges = run.store.shown_exchanges(station, tokens, functools.partial(visible_answer, words))
        language = run.language_of(station)
        for exchange in exchanges:
            exchange.tokens = visible_tokens(words, exchange.tokens)
            exchange.help = owner.safeguards.help_line(exchange.prompt, language)
        return StationWords(language=run.languages.get(station), exchanges=exchanges)

    @app.post("/forget")
    async def forget(request: Request) -> ForgetReply:
        message = await read(request, ForgetRequest, SMALL_BODY_BYTES)
        if message.station == SHARED_STATION:  # the words of several visitors
            require_key(request, "operator", owner.keys.operator)
        return await owner.require_lifecycle().forget(message.station)

    @app.post("/card")
    async def card(request: Request) -> StreamingResponse:
        message = await read(request, CardRequest, SMALL_BODY_BYTES)
        if message.station == SHARED_STATION:  # the first question of the shared station may be another visitor's
            require_key(request, "stage", owner.keys.stage, owner.keys.operator)
        owner.opening.require_answers()
        card_events = owner.cards.make(owner.require_lifecycle().run, message.station)
        with answer_errors_as_refusals():
            try:
                first = await anext(card_events)
            except NoQuestionError:
                raise RequestRefusedError(409, "There is no question for a card yet: ask something first.") from None
        begun: asyncio.Future[CardEvent] = asyncio.get_running_loop().create_future()
        begun.set_result(first)
        return _stream(begun, card_events)


def _stream(first: asyncio.Future[Any], more: AsyncIterator[ChatEvent] | AsyncIterator[CardEvent]) -> StreamingResponse:
    parts = kept_alive(_event_stream(first, more))
    return StreamingResponse(parts, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _event_stream(
    first: asyncio.Future[Any], more: AsyncIterator[ChatEvent] | AsyncIterator[CardEvent]
) -> AsyncIterator[str]:
    try:
        with answer_errors_as_refusals():
            begins = await first
            yield format_event(EVENT_NAMES[type(begins)], begins)
            async for message in more:
                yield format_event(EVENT_NAMES[type(message)], message)
    except RequestRefusedError as refusal:
        yield format_event("error", Refusal(error=refusal.sentence))
