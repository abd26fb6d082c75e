"""What the window hears: the owner's events, and how what it asked for ended.  Together with the messages of `wire`, `News`."""

from __future__ import annotations

from dataclasses import dataclass

from wmkml import wire


@dataclass(frozen=True)
class Connection:
    """The owner answers (`there`) or is away; `everybody` when every station's words are heard, not only the window's."""

    there: bool
    everybody: bool = False


@dataclass(frozen=True)
class Prompt:
    """Somebody said something at a station."""

    station: str
    text: str


@dataclass(frozen=True)
class Start:
    """The answer to a station begins, or begins anew: its tokens so far are void."""

    station: str
    iteration: int


@dataclass(frozen=True)
class Token:
    """One token of the answer to a station, its probability from 0 to 1, and the entropy it was drawn from, in nats."""

    station: str
    text: str
    probability: float
    entropy: float
    iteration: int


@dataclass(frozen=True)
class Response:
    """The answer to a station is complete; `text` is what is kept of it."""

    station: str
    text: str
    iteration: int


@dataclass(frozen=True)
class Answered:
    """What the window asked is answered, or was refused with a sentence; `None`: the connection broke."""

    prompt: str
    ok: bool
    refusal: str | None = None


@dataclass(frozen=True)
class Chosen:
    """The language that was chosen is spoken now, or was refused with a sentence; `None`: the owner is away."""

    language: str
    ok: bool
    refusal: str | None = None


@dataclass(frozen=True)
class Typing:
    """Somebody somewhere is `typing`, or has `stopped`."""

    status: str


@dataclass(frozen=True)
class Swap:
    """From now on this iteration answers."""

    iteration: int


@dataclass(frozen=True)
class RunStarted:
    """A run begins."""


@dataclass(frozen=True)
class RunOver:
    """A run is over: the language is reborn."""


News = (
    Connection
    | wire.RunState
    | wire.RoundRecord
    | Prompt
    | Start
    | Token
    | Response
    | Answered
    | Chosen
    | Typing
    | Swap
    | RunStarted
    | RunOver
)
