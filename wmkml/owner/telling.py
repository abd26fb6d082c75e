"""The data of those events that are the event stream's own; the others are messages of `wmkml.wire`."""

from __future__ import annotations

from pydantic import StrictBool

from wmkml.wire import Message


class RunTold(Message):
    """`run_started`, `last_words`, `run_end`."""

    run: str
    language: str


class NoticeTold(Message):
    """`notice`: a sentence for the operator."""

    text: str


class StageTold(Message):
    """`stage`, `POST /operator/stage` and `POST /desk/stage`: the operator blanks the projection, or shows it again."""

    blank: StrictBool


class RuntimeTold(Message):
    """`stage_runtime`: the projection's folder was saved.  `problems` says what in it is not understood, and where."""

    version: int
    problems: list[str]


class PromptTold(Message):
    """`prompt`: what a visitor asks."""

    station: str
    text: str


class IterationTold(Message):
    """`start`: an answer begins; `restarted`: forget its tokens so far."""

    station: str
    iteration: int
    restarted: bool


class TokenTold(Message):
    """`token`: one token of a visitor's answer."""

    station: str
    text: str
    probability: float
    entropy: float
    iteration: int


class ResponseTold(Message):
    """`response`: a visitor's whole answer, cut at the end of a sentence."""

    station: str
    text: str
    iteration: int


class PastTold(Message):
    """`past`: so many events follow that were told before this listener came, and nothing else between them."""

    events: int


class TypingTold(Message):
    """`typing`: a visitor types, or stopped."""

    station: str
    status: str
