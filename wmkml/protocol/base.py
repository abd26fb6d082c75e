"""Base classes of messages (ours refuse unknown fields, those at the original's doors ignore them), and errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """One of our own messages: unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class DoorMessage(BaseModel):
    """A message at one of the original's doors: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Refusal(Message):
    """The body of every 4xx and 5xx of owner and inference (the OpenAI routes wrap it as that protocol wants)."""

    error: str
    """One sentence: what was wrong and what to do.  Never quotes what a visitor wrote."""


class RequestRefusedError(Exception):
    """Raised while a request is handled; the response is a `Refusal` with this status and sentence.

    Attributes:
        status: the HTTP status, 4xx or 5xx.
        sentence: what was wrong and what to do; never quotes the request.
        code: a name for programs, as in the OpenAI protocol.
    """

    def __init__(self, status: int, sentence: str, code: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.code = code
