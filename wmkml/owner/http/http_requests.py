"""Reading requests and refusing them: bounded bodies, keys, trusted hosts, and error replies.

Every refusal is a `Refusal` with one sentence.  It may name fields of the request, but never quotes their content,
which may be a visitor's words; the same holds for log lines.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Sequence
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wmkml.access.keys import key_matches
from wmkml.access.trusted_hosts import FORWARDED_FOR, is_trusted
from wmkml.protocol.base import Refusal, RequestRefusedError
from wmkml.runs.database import NotStoredError

log = logging.getLogger(__name__)

Body = TypeVar("Body", bound=BaseModel)

SMALL_BODY_BYTES = 4096
"""The most bytes of a request body that holds no prompt."""


BODY_SECONDS = 30.0
"""How long a request's body may take; headers have a limit of their own (`ConnectionLimits`)."""


def refusal_response(status: int, sentence: str) -> JSONResponse:
    """A refusal as an HTTP response."""
    return JSONResponse(Refusal(error=sentence).model_dump(), status)


async def read(request: Request, message: type[Body], limit: int) -> Body:
    """Read and validate the JSON body of a request.

    Args:
        message: the expected message's class.
        limit: the most bytes read.

    Raises:
        RequestRefusedError: 413 above `limit` bytes; 400 if it is not UTF-8, not JSON, or not this message.
    """
    body = await read_bytes(request, limit)
    try:
        return message.model_validate_json(body)
    except ValidationError as error:
        raise RequestRefusedError(
            400, _validation_sentence(error.errors(include_input=False, include_url=False))
        ) from None


async def read_bytes(request: Request, limit: int) -> bytes:
    """Read the body of a request.

    Raises:
        RequestRefusedError: 413 above `limit` bytes, 408 when it does not come within BODY_SECONDS.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise RequestRefusedError(413, f"This is too long: at most {limit} bytes are read.")
    except TimeoutError:
        raise RequestRefusedError(408, f"The request did not come within {BODY_SECONDS:g} s; send it again.") from None
    return bytes(body)


def checked_prompt(prompt: str) -> str:
    """A prompt without the white space around it.

    Raises:
        RequestRefusedError: 400 if it is empty or holds control characters other than tab and line breaks.
    """
    prompt = prompt.strip()
    if not prompt:
        raise RequestRefusedError(400, "The prompt is empty: write something.")
    if any(ord(character) < 32 and character not in "\t\n\r" for character in prompt):
        raise RequestRefusedError(400, "The prompt holds control characters: send text.")
    return prompt


def key_of(request: Request) -> str | None:
    """The key sent with a request: in the header `X-Key`, or, where none can be set, as the query parameter `key`."""
    return request.headers.get("x-key") or request.query_params.get("key")


def require_key(request: Request, whose: str, *keys: str) -> None:
    """Refuse a request that was sent without one of these keys.

    Args:
        whose: the role named in the refusal.

    Raises:
        RequestRefusedError: 401.
    """
    if not key_matches(key_of(request), *keys):
        raise RequestRefusedError(401, f"This needs the key of the {whose}, as the header X-Key.")


def is_https(request: Request) -> bool:
    """Whether the browser came by https, to this process or to a proxy of `general.trusted_proxies`."""
    return request.url.scheme == "https"


def from_trusted_host(request: Request, hosts: Sequence[str]) -> bool:
    """Whether a request comes from a trusted host."""
    peer = request.client.host if request.client else ""
    return is_trusted(peer, request.headers.getlist(FORWARDED_FOR), hosts)


def unstored_refusal(trouble: NotStoredError) -> RequestRefusedError:
    """What somebody is told whose words or wishes the disk does not take."""
    return RequestRefusedError(507, f"This cannot be kept: {trouble.reason}. Ask whoever looks after the installation.")


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error with a `Refusal` that quotes nothing of the request."""

    @app.exception_handler(RequestRefusedError)
    async def on_refused(_request: Request, error: RequestRefusedError) -> Response:
        return refusal_response(error.status, error.sentence)

    @app.exception_handler(NotStoredError)
    async def on_not_stored(_request: Request, error: NotStoredError) -> Response:
        refusal = unstored_refusal(error)
        return refusal_response(refusal.status, refusal.sentence)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> Response:
        return refusal_response(400, _validation_sentence(error.errors()))

    @app.exception_handler(HTTPException)
    async def on_http_error(_request: Request, error: HTTPException) -> Response:
        return refusal_response(
            error.status_code, "There is no such door here." if error.status_code == 404 else error.detail
        )

    app.add_middleware(_UnexpectedErrorMiddleware)


class _UnexpectedErrorMiddleware:
    """Answers unexpected errors with status 500, and logs where they were raised without their text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            # The server ends, and waits no longer for requests under way.
            if started or scope["type"] != "http":
                raise
            refusal = refusal_response(503, "The installation is being started anew; ask again in a moment.")
            refusal.headers["Retry-After"] = "5"
            await refusal(scope, receive, send)
        except ClientDisconnect:
            log.debug("A client hung up while it sent its request.")
        except Exception as error:  # noqa: BLE001 - its text may hold a visitor's words and must not reach the log
            log.error("%s", error_location(error))
            if not started and scope["type"] == "http":
                await refusal_response(500, "Something went wrong here; the log says where.")(scope, receive, send)


def error_location(error: BaseException) -> str:
    """The type and traceback of an error without its message; those of the parts of an exception group, too."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    inner = "".join(map(error_location, error.exceptions)) if isinstance(error, BaseExceptionGroup) else ""
    return f"{type(error).__name__}\n{lines}{inner}"


def _validation_sentence(errors: Sequence[dict[str, object]] | Sequence[object]) -> str:
    """One sentence that names the fields pydantic found invalid, and why."""
    fields: list[str] = []
    for error in errors:
        assert isinstance(error, dict)
        if error["type"] == "json_invalid":
            return "The body is not JSON in UTF-8."
        path = ".".join(str(part) for part in error["loc"] if part not in ("query", "path", "header"))
        # The name of an unknown field was chosen by the sender and is not repeated.
        name = "an unknown field" if error["type"] == "extra_forbidden" else (path or "the body")
        fields.append(f"{name} ({str(error['type']).replace('_', ' ')})")
    return f"Not understood: {', '.join(dict.fromkeys(fields))}."
