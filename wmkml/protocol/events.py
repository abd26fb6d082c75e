"""The data of events that occur in the event stream only; other events carry messages of `run_state.py`."""

from __future__ import annotations

from pydantic import StrictBool

from wmkml.protocol.base import Message


class RunEvent(Message):
    """`run_started`, `last_words`, `run_end`."""

    run: str
    language: str


class NoticeEvent(Message):
    """`notice`: a sentence for the operator."""

    text: str


class StageEvent(Message):
    """`stage`, `POST /operator/stage` and `POST /desk/stage`: whether the operator has blanked the projection."""

    blank: StrictBool


class StageRuntimeEvent(Message):
    """`stage_runtime`: a file in the projection's folder was saved.

    `problems`: what is invalid in the folder, and where.
    """

    version: int
    problems: list[str]


class PromptEvent(Message):
    """`prompt`: a visitor's prompt."""

    station: str
    text: str


class LifeEvent(Message):
    """`life`: how much of the newborn language is left, 1 to 0; sent while it moves to what was measured."""

    life: float


class AnswerStartEvent(Message):
    """`start`: an answer begins; `restarted`: discard its tokens received so far."""

    station: str
    iteration: int
    restarted: bool


class TokenEvent(Message):
    """`token`: one token of a visitor's answer."""

    station: str
    text: str
    probability: float
    entropy: float
    iteration: int


class ResponseEvent(Message):
    """`response`: a visitor's whole answer, cut at the end of a sentence."""

    station: str
    text: str
    iteration: int


class RollingEvent(Message):
    """`rolling`: measures of the last 200 tokens of every station that is being answered, by name; once a second."""

    values: dict[str, float]


class PastEvent(Message):
    """`past`: the next `events` events were sent before this listener connected; no other event comes between them."""

    events: int


class TypingEventData(Message):
    """`typing`: a visitor is typing, or has stopped."""

    station: str
    status: str


class ForgottenEvent(Message):
    """`forgotten`: a station's words were deleted; whoever shows them must not any more."""

    station: str
