"""What is refused, as an exception, and how it is told: a sentence, in the OpenAI protocol's form where that is spoken.

No refusal quotes what came in: it may be a visitor's.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from wmkml.wire import Refusal

log = logging.getLogger(__name__)

OPENAI = "/v1/"
"""Paths under this speak the OpenAI protocol."""


class Refused(Exception):
    """An answer with a 4xx or 5xx: the status, one sentence, and a code for programs."""

    def __init__(self, status: int, sentence: str, code: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.code = code


def openai_error(refused: Refused) -> dict[str, Any]:
    """The error object of the OpenAI protocol."""
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    return {"error": {"message": refused.sentence, "type": kind, "param": None, "code": refused.code}}


def told(path: str, refused: Refused) -> JSONResponse:
    """The response for a refusal, in the form that belongs to the path."""
    body = openai_error(refused) if path.startswith(OPENAI) else Refusal(error=refused.sentence).model_dump()
    return JSONResponse(body, status_code=refused.status)


def install(app: FastAPI) -> None:
    """Answer refusals, unknown paths and our own mistakes in the right form."""

    @app.exception_handler(Refused)
    async def _refused(request: Request, error: Refused) -> JSONResponse:
        return told(request.url.path, error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        sentence = {404: "There is nothing at this path.", 405: "This path takes another method."}
        refused = Refused(error.status_code, sentence.get(error.status_code, "The request cannot be answered."))
        return told(request.url.path, refused)

    @app.exception_handler(Exception)
    async def _mistake(request: Request, error: Exception) -> JSONResponse:
        log.error("A request to %s failed: %s", request.url.path, type(error).__name__)
        return told(request.url.path, Refused(500, "The request failed; the log of inference says where."))
