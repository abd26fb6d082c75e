"""Responses for refused requests: one sentence, in the OpenAI protocol's form under `/v1/`, else as `Refusal`.

No response quotes the request: it may hold a visitor's words.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from wmkml.protocol.base import Refusal, RequestRefusedError

log = logging.getLogger(__name__)

OPENAI_PREFIX = "/v1/"
"""Paths that begin with this speak the OpenAI protocol."""


def openai_error(refusal: RequestRefusedError) -> dict[str, Any]:
    """The error object of the OpenAI protocol."""
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    return {"error": {"message": refusal.sentence, "type": kind, "param": None, "code": refusal.code}}


def refusal_response(path: str, refusal: RequestRefusedError) -> JSONResponse:
    """The response for a refusal, in the form that belongs to the path."""
    in_openai_form = path.startswith(OPENAI_PREFIX)
    body = openai_error(refusal) if in_openai_form else Refusal(error=refusal.sentence).model_dump()
    return JSONResponse(body, status_code=refusal.status)


def install_handlers(app: FastAPI) -> None:
    """Have the app answer refusals, unknown paths and unexpected exceptions with `refusal_response`."""

    @app.exception_handler(RequestRefusedError)
    async def _on_refusal(request: Request, error: RequestRefusedError) -> JSONResponse:
        return refusal_response(request.url.path, error)

    @app.exception_handler(HTTPException)
    async def _on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        sentences = {404: "There is nothing at this path.", 405: "This path takes another method."}
        sentence = sentences.get(error.status_code, "The request cannot be answered.")
        return refusal_response(request.url.path, RequestRefusedError(error.status_code, sentence))

    @app.exception_handler(Exception)
    async def _on_exception(request: Request, error: Exception) -> JSONResponse:
        log.error("A request to %s failed: %s", request.url.path, type(error).__name__)
        refusal = RequestRefusedError(500, "The request failed; the log of inference says where.")
        return refusal_response(request.url.path, refusal)
