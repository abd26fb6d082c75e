"""Reading requests and refusing them: bodies within bounds, keys, whom to trust, and errors that repeat nothing.

Every refusal is `wire.Refusal` with one sentence; it names fields, never what was in them.  Knows no route.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wmkml.keys import opens
from wmkml.trust import FORWARDED, is_trusted
from wmkml.wire import Refusal

log = logging.getLogger(__name__)

Body = TypeVar("Body", bound=BaseModel)

SMALL = 4096
"""Bytes of a message that holds no prompt."""


class Refusing(Exception):
    """Ends a request with this status and sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def refusal(status: int, sentence: str) -> JSONResponse:
    """The response of a refusal."""
    return JSONResponse(Refusal(error=sentence).model_dump(), status)


async def read(request: Request, message: type[Body], limit: int) -> Body:
    """The message in a request's body.

    Raises:
        Refusing: 413 above `limit` bytes; 400 if it is not UTF-8, not JSON, or not this message.
    """
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > limit:
            raise Refusing(413, f"This is too long: at most {limit} bytes are read.")
    try:
        return message.model_validate_json(bytes(raw))
    except ValidationError as error:
        raise Refusing(400, _what_is_wrong(error.errors(include_input=False, include_url=False))) from None


def speakable(prompt: str) -> str:
    """A prompt without the white space around it.

    Raises:
        Refusing: 400 if nothing is left, or it holds what nobody can type.
    """
    prompt = prompt.strip()
    if not prompt:
        raise Refusing(400, "The prompt is empty: write something.")
    if any(ord(character) < 32 and character not in "\t\n\r" for character in prompt):
        raise Refusing(400, "The prompt holds control characters: send text.")
    return prompt


def given_key(request: Request) -> str | None:
    """The key that came with a request: in the header, or in the address where no header can be sent."""
    return request.headers.get("x-key") or request.query_params.get("key")


def require_key(request: Request, whose: str, *keys: str) -> None:
    """Refuse a request that brings none of these keys.

    Raises:
        Refusing: 401.
    """
    if not opens(given_key(request), *keys):
        raise Refusing(401, f"This needs the key of the {whose}, as the header X-Key.")


def trusted(request: Request, hosts: Sequence[str]) -> bool:
    """Whether a request comes from a trusted host."""
    peer = request.client.host if request.client else ""
    return is_trusted(peer, request.headers.getlist(FORWARDED), hosts)


def add_refusals(app: FastAPI) -> None:
    """Have every error answered by a sentence that repeats nothing of the request."""

    @app.exception_handler(Refusing)
    async def refused(_request: Request, error: Refusing) -> Response:
        return refusal(error.status, error.sentence)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return refusal(400, _what_is_wrong(error.errors()))

    @app.exception_handler(HTTPException)
    async def unknown(_request: Request, error: HTTPException) -> Response:
        return refusal(error.status_code, "There is no such door here." if error.status_code == 404 else error.detail)

    app.add_middleware(_Unforeseen)


class _Unforeseen:
    """The last line: an error nobody foresaw becomes a 500, and its place, not its words, goes to the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 - the text of an unknown error may hold a visitor's words: log its place
            log.error("%s", where(error))
            if not started and scope["type"] == "http":
                await refusal(500, "Something went wrong here; the log says where.")(scope, receive, send)


def where(error: BaseException) -> str:
    """The kind of an error and the lines of code it passed, without its text."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    inner = "".join(where(one) for one in error.exceptions) if isinstance(error, BaseExceptionGroup) else ""
    return f"{type(error).__name__}\n{lines}{inner}"


def _what_is_wrong(errors: Sequence[dict[str, object]] | Sequence[object]) -> str:
    fields: list[str] = []
    for error in errors:
        assert isinstance(error, dict)
        if error["type"] == "json_invalid":
            return "The body is not JSON in UTF-8."
        path = ".".join(str(part) for part in error["loc"] if part not in ("query", "path", "header"))
        # A field nobody knows is named by whoever sent it, and that may be anything.
        known = "an unknown field" if error["type"] == "extra_forbidden" else (path or "the body")
        fields.append(f"{known} ({str(error['type']).replace('_', ' ')})")
    return f"Not understood: {', '.join(dict.fromkeys(fields))}."
