"""The OpenAI protocol's forms: `/v1/chat/completions`, streamed or whole, and `/v1/models`.

Each token's entry under `logprobs` has one number more than the protocol knows, `entropy`; clients that do not know it
pass it by.  Knows forms; how an answer comes about is `answering.py`'s.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from wmkml.inference.answering import Answering, Piece, Prepared
from wmkml.inference.bodies import read_message
from wmkml.inference.refusals import Refused, openai_error
from wmkml.wire import CompletionRequest

Decode = Callable[[int], str]
"""The text of a single token, for the alternatives a token had."""


def routes(answering: Answering, models: Callable[[], list[str]], decode: Decode, limit: int) -> APIRouter:
    """The protocol's routes.  `limit`: the largest body in bytes."""
    router = APIRouter()
    begun = int(time.time())

    @router.get("/v1/models")
    async def _models() -> JSONResponse:
        data = [{"id": one, "object": "model", "created": begun, "owned_by": "wmkml"} for one in models()]
        return JSONResponse({"object": "list", "data": data})

    @router.post("/v1/chat/completions")
    async def _completions(request: Request) -> Response:
        prepared = answering.prepare(await read_message(request, CompletionRequest, limit))
        form = _Form(prepared, decode)
        pieces = answering.pieces(prepared)
        if not prepared.request.stream:
            return await _until_gone(request, _whole(form, pieces))
        # The status line waits for the first token, so that a refusal before it is still a refusal.
        first = await anext(pieces)
        return StreamingResponse(_events(form, first, pieces), media_type="text/event-stream")

    return router


class _Form:
    """What all parts of one reply have in common, and the count of its tokens."""

    def __init__(self, prepared: Prepared, decode: Decode) -> None:
        self._prepared = prepared
        self._decode = decode
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": prepared.model}
        self._tokens = 0

    def part(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """One object of the protocol."""
        return {**self._head, "object": kind, "choices": choices, **more}

    def entries(self, piece: Piece) -> list[dict[str, Any]]:
        """The token's entry under `logprobs`; none for text without a token."""
        self._tokens += piece.step is not None
        if piece.step is None or piece.token is None or not self._prepared.request.logprobs:
            return []
        top = piece.step.top[: self._prepared.request.top_logprobs or 0]
        return [
            {
                **_named(piece.token, piece.step.logprob),
                "top_logprobs": [_named(self._decode(token), logprob) for token, logprob in top],
                "entropy": piece.entropy,
            }
        ]

    def usage(self) -> dict[str, Any]:
        """How many tokens were read and made."""
        read = len(self._prepared.prompt.ids)
        return {"prompt_tokens": read, "completion_tokens": self._tokens, "total_tokens": read + self._tokens}

    @property
    def counts_last(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool((self._prepared.request.stream_options or {}).get("include_usage"))

    @property
    def answers(self) -> int:
        """How many choices the reply has."""
        return self._prepared.request.n

    @property
    def logprobs(self) -> bool:
        """Whether tokens have entries."""
        return self._prepared.request.logprobs


def _named(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", errors="replace"))}


async def _whole(form: _Form, pieces: AsyncGenerator[tuple[int, Piece]]) -> Response:
    texts = [""] * form.answers
    entries: list[list[dict[str, Any]]] = [[] for _ in texts]
    ends: list[str | None] = [None] * form.answers
    try:
        async for index, piece in pieces:
            texts[index] += piece.text
            entries[index] += form.entries(piece)
            ends[index] = piece.finish
    finally:
        await pieces.aclose()
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": entries[index]} if form.logprobs else None,
            "finish_reason": ends[index],
        }
        for index, text in enumerate(texts)
    ]
    return JSONResponse(form.part("chat.completion", choices, usage=form.usage()))


async def _events(
    form: _Form, first: tuple[int, Piece], pieces: AsyncGenerator[tuple[int, Piece]]
) -> AsyncIterator[str]:
    kind = "chat.completion.chunk"
    try:
        for index in range(form.answers):
            delta = {"role": "assistant", "content": ""}
            yield _event(form.part(kind, [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}]))
        yield _event(form.part(kind, _chunks(form, *first)))
        async for index, piece in pieces:
            yield _event(form.part(kind, _chunks(form, index, piece)))
    except Refused as refused:
        yield _event(openai_error(refused))
        return
    finally:
        await pieces.aclose()
    if form.counts_last:
        yield _event(form.part(kind, [], usage=form.usage()))
    yield "data: [DONE]\n\n"


def _chunks(form: _Form, index: int, piece: Piece) -> list[dict[str, Any]]:
    entries = form.entries(piece)
    return [
        {
            "index": index,
            "delta": {"content": piece.text},
            "logprobs": {"content": entries} if entries else None,
            "finish_reason": piece.finish,
        }
    ]


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _until_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The work's response; when the client leaves before it is done, the work is ended."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        return Response(status_code=499)
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
