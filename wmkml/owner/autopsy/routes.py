"""The routes of the autopsy, the same for a run under way and a kept one: only who may ask, and which selves, differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from wmkml.access.keys import key_matches
from wmkml.decency.word_filter import WordFilter
from wmkml.owner.autopsy.filtered_selves import FilteredSelves, TokenTexts
from wmkml.owner.autopsy.live_selves import LiveSelves
from wmkml.owner.autopsy.questions import AutopsyEvent, answers, next_tokens
from wmkml.owner.autopsy.selves import Selves
from wmkml.owner.context import OwnerContext
from wmkml.owner.events.event_hub import format_event
from wmkml.owner.events.kept_alive import kept_alive
from wmkml.owner.http.http_requests import key_of, read, require_key
from wmkml.owner.http.page_routes import page_response
from wmkml.owner.http.stage_access import may_see_stage, redirect_without_key
from wmkml.protocol.autopsy import (
    AutopsyAnswerEnd,
    AutopsyEnd,
    AutopsyNext,
    AutopsyRequest,
    AutopsySelves,
    AutopsyToken,
    NextTokensRequest,
)
from wmkml.protocol.base import Refusal, RequestRefusedError

COOKIE = "autopsy"
"""Of a browser that came from the desk: the desk's session, for the paths under `/autopsy` alone."""

MOST_AT_ONCE = 2
"""As many prompts are asked of all selves at the same time; the next one waits."""

EVENT_NAMES: dict[type[AutopsyEvent], str] = {
    AutopsySelves: "selves",
    AutopsyToken: "token",
    AutopsyAnswerEnd: "answer",
    AutopsyEnd: "end",
}

STREAM_HEADERS = {"X-Accel-Buffering": "no"}
"""Proxies must not buffer the tokens."""


def autopsy_routes(
    selves_for: Callable[[Request], Awaitable[Selves]], max_bytes: int, page: Callable[[Request], Response]
) -> APIRouter:
    """`GET /autopsy`, `GET /autopsy/selves`, `POST /autopsy/answers` and `POST /autopsy/next`.

    Args:
        selves_for: those that a request may ask; raises RequestRefusedError where it may not.
        max_bytes: the largest body.
        page: the reply to `GET /autopsy`.
    """
    router = APIRouter()
    turns = asyncio.Semaphore(MOST_AT_ONCE)

    @router.get("/autopsy", include_in_schema=False)
    async def autopsy_page(request: Request) -> Response:
        return page(request)

    @router.get("/autopsy/selves")
    async def about(request: Request) -> AutopsySelves:
        return await (await selves_for(request)).about()

    @router.post("/autopsy/answers")
    async def ask(request: Request) -> StreamingResponse:
        selves = await selves_for(request)
        message = await read(request, AutopsyRequest, max_bytes)
        events = _in_turn(turns, answers(selves, message))
        # While the status is not sent yet, a refusal is one.
        first = await anext(events)
        parts = kept_alive(_event_stream(first, events))
        return StreamingResponse(parts, media_type="text/event-stream", headers=STREAM_HEADERS)

    @router.post("/autopsy/next")
    async def next_(request: Request) -> AutopsyNext:
        selves = await selves_for(request)
        message = await read(request, NextTokensRequest, max_bytes)
        async with turns:
            return await next_tokens(selves, message)

    return router


async def _in_turn(turns: asyncio.Semaphore, events: AsyncGenerator[AutopsyEvent]) -> AsyncGenerator[AutopsyEvent]:
    async with turns, aclosing(events):
        async for event in events:
            yield event


async def _event_stream(first: AutopsyEvent, more: AsyncIterator[AutopsyEvent]) -> AsyncIterator[str]:
    yield format_event(EVENT_NAMES[type(first)], first)
    try:
        async for event in more:
            yield format_event(EVENT_NAMES[type(event)], event)
    except RequestRefusedError as refusal:
        yield format_event("error", Refusal(error=refusal.sentence))


def add_autopsy(app: FastAPI, owner: OwnerContext, session_valid: Callable[[str | None], bool]) -> None:
    """Add the routes for the run under way.

    They need the stage's or operator's key, or a session of the desk (`GET /desk/autopsy`); with `general.autopsy` nothing,
    while the last words are spoken.  Whoever comes without is shown what a visitor may read, the stage's key opens what the
    stage may show, and the operator reads the words as they were.
    """
    texts = TokenTexts()

    def may_ask(request: Request) -> bool:
        return owner.autopsy_open or may_see_stage(request, owner.keys) or session_valid(request.cookies.get(COOKIE))

    def words_for(request: Request) -> WordFilter:
        if key_matches(key_of(request), owner.keys.operator) or session_valid(request.cookies.get(COOKIE)):
            return WordFilter(())
        return owner.safeguards.events if may_see_stage(request, owner.keys) else owner.safeguards.visitor

    async def selves_for(request: Request) -> Selves:
        if not may_ask(request):
            require_key(request, "stage or the operator", owner.keys.stage, owner.keys.operator)
        owner.opening.require_answers()
        selves = LiveSelves(owner, owner.require_lifecycle().run)
        words = words_for(request)
        return FilteredSelves(selves, words, texts) if words else selves

    def page(request: Request) -> Response:
        if "key" in request.query_params:
            return redirect_without_key(request, owner.keys, "autopsy")
        return page_response("autopsy.html")

    app.include_router(autopsy_routes(selves_for, owner.settings.general.max_prompt_bytes, page))
