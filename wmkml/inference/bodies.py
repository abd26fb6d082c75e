"""Reading the body of a request into a message: size, encoding, JSON and fields, each with a sentence when it is wrong.

FastAPI's own reading would echo the input in its errors, and read a body of any size.
"""

from __future__ import annotations

import json
from typing import Any, Never, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from wmkml.inference.refusals import Refused

M = TypeVar("M", bound=BaseModel)


async def read_message(request: Request, kind: type[M], limit: int) -> M:
    """The request's body as a message of this kind.

    Raises:
        Refused: 413 for more than `limit` bytes, 400 for what is not UTF-8, not JSON, or not such a message.
    """
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > limit:
            raise Refused(413, f"The request is larger than {limit} bytes.", "request_too_large")
    try:
        content = json.loads(raw.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise Refused(400, "The request is not UTF-8 text.", "invalid_encoding") from None
    except (ValueError, RecursionError):
        raise Refused(400, "The request is not JSON.", "invalid_json") from None
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # JSON can write half of a character (a lone surrogate); no tokenizer can read it.
        raise Refused(400, "The request holds halves of characters.", "invalid_encoding") from None
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise Refused(400, _sentence(error, kind), "invalid_value") from None


def _no_number(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """What is wrong with the first field that is, by its name and never by its value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = [part for part in first["loc"] if isinstance(part, int) or part in _names(kind)]
    place = ".".join(str(part) for part in where)
    reasons: dict[str, str] = {
        "missing": "is missing",
        "string_type": "must be a text",
        "literal_error": "is none of the allowed words",
        "too_short": "is empty",
        "extra_forbidden": "is not known",
    }
    kinds: dict[str, Any] = {"greater": "is too small", "less": "is too large", "int": "must be a whole number"}
    reason = reasons.get(first["type"]) or next(
        (text for start, text in kinds.items() if first["type"].startswith(start)), "has a value that is not allowed"
    )
    return f"{place} {reason}." if place else "The request must be a JSON object with the right fields."


def _names(kind: type[BaseModel]) -> set[str]:
    return set(kind.model_fields) | {"role", "content"}
