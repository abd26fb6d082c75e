"""Reads a request's body into a message, and refuses a wrong size, encoding, JSON or field with a sentence.

Used instead of FastAPI's own parsing, whose errors quote the input and which reads a body of any size.
"""

from __future__ import annotations

import asyncio
import json
from typing import Never, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from wmkml.protocol.base import RequestRefusedError

BODY_SECONDS = 30.0
"""How long a request's body may take."""

MessageT = TypeVar("MessageT", bound=BaseModel)


async def read_message(request: Request, kind: type[MessageT], max_bytes: int) -> MessageT:
    """The request's body as a message of this kind.

    Raises:
        RequestRefusedError: 413 for more than `max_bytes` bytes, 408 for a body that takes too long, 400 for a body that is not UTF-8, not JSON,
            or not such a message.
    """
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                raw += part
                if len(raw) > max_bytes:
                    raise RequestRefusedError(
                        413, f"The request is larger than {max_bytes} bytes.", "request_too_large"
                    )
    except TimeoutError:
        raise RequestRefusedError(408, f"The request did not come within {BODY_SECONDS:g} s.", "too_slow") from None
    except ClientDisconnect:
        raise RequestRefusedError(400, "The client hung up.", "hung_up") from None
    try:
        content = json.loads(raw.decode("utf-8"), parse_constant=_reject_constant)
    except UnicodeDecodeError:
        raise RequestRefusedError(400, "The request is not UTF-8 text.", "invalid_encoding") from None
    except (ValueError, RecursionError):
        raise RequestRefusedError(400, "The request is not JSON.", "invalid_json") from None
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # JSON's escapes can form half a character (a lone surrogate), which no tokenizer reads.
        raise RequestRefusedError(400, "The request holds halves of characters.", "invalid_encoding") from None
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise RequestRefusedError(400, _error_sentence(error, kind), "invalid_value") from None


def _reject_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")


def _error_sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """What is wrong with the first wrong field: names the field, never its value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # Other parts of the location may be keys that the sender chose.
    known = [part for part in first["loc"] if isinstance(part, int) or part in _field_names(kind)]
    field = ".".join(str(part) for part in known)
    reasons = {
        "missing": "is missing",
        "string_type": "must be a text",
        "literal_error": "is none of the allowed words",
        "too_short": "is empty",
        "extra_forbidden": "is not known",
    }
    reasons_by_prefix = {"greater": "is too small", "less": "is too large", "int": "must be a whole number"}
    reason = reasons.get(first["type"]) or next(
        (text for prefix, text in reasons_by_prefix.items() if first["type"].startswith(prefix)),
        "has a value that is not allowed",
    )
    return f"{field} {reason}." if field else "The request must be a JSON object with the right fields."


def _field_names(kind: type[BaseModel]) -> set[str]:
    return set(kind.model_fields) | {"role", "content"}
