"""The OpenAI protocol's routes: `/v1/chat/completions`, streamed or whole, and `/v1/models`.

Each token's entry under `logprobs` has one field that the protocol does not have: `entropy`, in nats.  A request with
`return_token_ids` gets `id` and `rank` too.
A streamed request that is refused before its first token gets the refusal's status; later the refusal is an event.
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

from wmkml.inference.answering import Answering, Piece, PreparedRequest
from wmkml.inference.refusals import openai_error
from wmkml.inference.request_parsing import read_message
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.inference import CompletionRequest

TokenDecoder = Callable[[int], str]
"""The text of a single token (`wmkml.engine.text.token_decoder`)."""


def routes(answering: Answering, models: Callable[[], list[str]], decode: TokenDecoder, max_bytes: int) -> APIRouter:
    """The protocol's routes.

    Args:
        models: the names of the models that can be asked now.
        max_bytes: the largest body.
    """
    router = APIRouter()
    created = int(time.time())

    @router.get("/v1/models")
    async def _models() -> JSONResponse:
        data = [{"id": name, "object": "model", "created": created, "owned_by": "wmkml"} for name in models()]
        return JSONResponse({"object": "list", "data": data})

    @router.post("/v1/chat/completions")
    async def _completions(request: Request) -> Response:
        prepared = answering.prepare(await read_message(request, CompletionRequest, max_bytes))
        reply = _CompletionReply(prepared, decode)
        pieces = answering.pieces(prepared)
        if not prepared.request.stream:
            return await _cancelled_on_disconnect(request, _whole_response(reply, pieces))
        # The status line waits for the first token, so that a refusal before it keeps its status.
        first = await anext(pieces)
        return StreamingResponse(_event_stream(reply, first, pieces), media_type="text/event-stream")

    return router


class _CompletionReply:
    """What the objects of one reply have in common, and the count of its tokens."""

    def __init__(self, prepared: PreparedRequest, decode: TokenDecoder) -> None:
        self._prompt_tokens = len(prepared.prompt.ids)
        self._request = prepared.request
        self._decode = decode
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": prepared.model,
            "system_fingerprint": prepared.fingerprint,
        }
        self._tokens = 0
        # The same in every event of a stream, of which there is one for each token.
        self._event_start = f"data: {_json(self._head | {'object': 'chat.completion.chunk'})[:-1]},"

    def completion(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The whole reply."""
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": self.usage()}

    def event(self, choices: list[dict[str, Any]], **more: Any) -> str:
        """An event of a stream: an object `chat.completion.chunk` with these choices and fields."""
        return f"{self._event_start}{_json({'choices': choices, **more})[1:]}\n\n"

    def count_token(self) -> None:
        """Count one generated token for `usage`."""
        self._tokens += 1

    def logprob_entries(self, piece: Piece) -> list[dict[str, Any]]:
        """The entry of the piece's token under `logprobs`; none if it was not asked for.

        For the end token, which has no text, only where ids are asked for.
        """
        with_ids, step = self._request.return_token_ids, piece.step
        if not self._request.logprobs or (piece.token is None and not with_ids):
            return []
        top = [_token_object(self._decode(token), logprob) for token, logprob in step.top]
        top = top[: self._request.top_logprobs or 0]
        entry = {**_token_object(piece.token or "", step.logprob), "top_logprobs": top, "entropy": piece.entropy()}
        if with_ids:
            entry |= {"id": step.token, "rank": step.rank}
            for likely, (token, _) in zip(top, step.top, strict=False):
                likely["id"] = token
        return [entry]

    def usage(self) -> dict[str, Any]:
        """The numbers of tokens of the prompt and of all answers so far."""
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._tokens,
            "total_tokens": self._prompt_tokens + self._tokens,
        }

    @property
    def streams_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool((self._request.stream_options or {}).get("include_usage"))

    @property
    def answers(self) -> int:
        """How many choices the reply has."""
        return self._request.n

    @property
    def has_logprobs(self) -> bool:
        """Whether tokens have entries under `logprobs`."""
        return self._request.logprobs


def _token_object(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", errors="replace"))}


async def _whole_response(reply: _CompletionReply, pieces: AsyncGenerator[tuple[int, Piece]]) -> Response:
    texts = [""] * reply.answers
    entries: list[list[dict[str, Any]]] = [[] for _ in texts]
    ends: list[str | None] = [None] * reply.answers
    try:
        async for index, piece in pieces:
            texts[index] += piece.text
            reply.count_token()
            entries[index] += reply.logprob_entries(piece)
            ends[index] = piece.finish
    finally:
        await pieces.aclose()
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": entries[index]} if reply.has_logprobs else None,
            "finish_reason": ends[index],
        }
        for index, text in enumerate(texts)
    ]
    return JSONResponse(reply.completion(choices))


async def _event_stream(
    reply: _CompletionReply, first: tuple[int, Piece], pieces: AsyncGenerator[tuple[int, Piece]]
) -> AsyncIterator[str]:
    try:
        for index in range(reply.answers):
            delta = {"role": "assistant", "content": ""}
            yield reply.event([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])
        yield reply.event(_chunk_choices(reply, *first))
        async for index, piece in pieces:
            yield reply.event(_chunk_choices(reply, index, piece))
    except RequestRefusedError as refusal:
        yield f"data: {_json(openai_error(refusal))}\n\n"
        return
    finally:
        await pieces.aclose()
    if reply.streams_usage:
        yield reply.event([], usage=reply.usage())
    yield "data: [DONE]\n\n"


def _chunk_choices(reply: _CompletionReply, index: int, piece: Piece) -> list[dict[str, Any]]:
    reply.count_token()
    entries = reply.logprob_entries(piece)
    return [
        {
            "index": index,
            "delta": {"content": piece.text},
            "logprobs": {"content": entries} if entries else None,
            "finish_reason": piece.finish,
        }
    ]


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


async def _cancelled_on_disconnect(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The response that `work` yields; `work` is cancelled when the client disconnects before that."""
    working = asyncio.create_task(work)
    disconnecting = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        return Response(status_code=499)
    finally:
        for task in (working, disconnecting):
            task.cancel()
        await asyncio.gather(working, disconnecting, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
