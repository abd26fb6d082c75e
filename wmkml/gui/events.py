"""What the window is notified of: the owner's events, and the outcomes of what the window itself asked for.

`WindowEvent` is the union of these and of the messages `RunState`, `RoundRecord` and `IterationMeasures` of `wmkml.protocol`.
"""

from __future__ import annotations

from dataclasses import dataclass

from wmkml.protocol.run_state import IterationMeasures, RoundRecord, RunState


@dataclass(frozen=True)
class Connection:
    """Whether the owner's event stream is open, and whether it carries every station or the window's own alone."""

    connected: bool
    all_stations: bool = False


@dataclass(frozen=True)
class PromptReceived:
    """A visitor at a station sent a prompt."""

    station: str
    text: str


@dataclass(frozen=True)
class AnswerStarted:
    """The answer to a station starts, or starts over: the tokens before are void."""

    station: str
    iteration: int


@dataclass(frozen=True)
class TokenReceived:
    """One token of the answer to a station: its probability (0 to 1) and the entropy of its distribution (nats)."""

    station: str
    text: str
    probability: float
    entropy: float
    iteration: int


@dataclass(frozen=True)
class ResponseReceived:
    """The answer to a station is complete; `text` is the part that the owner keeps."""

    station: str
    text: str
    iteration: int


@dataclass(frozen=True)
class HelpOffered:
    """The owner shows a line of help with the answer to the window's own prompt; nobody else hears of either."""

    station: str
    text: str


@dataclass(frozen=True)
class PromptOutcome:
    """How the window's own prompt ended: answered (`ok`), refused (`refusal`), or cut off by the connection (None)."""

    prompt: str
    ok: bool
    refusal: str | None = None


@dataclass(frozen=True)
class ChoiceOutcome:
    """How the choice of a language ended: accepted (`ok`), refused (`refusal`), or not delivered (None)."""

    language: str
    ok: bool
    refusal: str | None = None


@dataclass(frozen=True)
class TypingReported:
    """The typing status of some station: `typing` or `stopped`."""

    status: str


@dataclass(frozen=True)
class AdapterSwapped:
    """From now on this iteration answers."""

    iteration: int


@dataclass(frozen=True)
class LifeMoved:
    """What is shown of the language's life, 0 to 1, has changed."""

    life: float


@dataclass(frozen=True)
class RunStarted:
    """A run has begun."""


@dataclass(frozen=True)
class RunEnded:
    """The run is over; the next one starts from the base model."""


WindowEvent = (
    Connection
    | RunState
    | RoundRecord
    | IterationMeasures
    | PromptReceived
    | AnswerStarted
    | HelpOffered
    | TokenReceived
    | ResponseReceived
    | PromptOutcome
    | ChoiceOutcome
    | TypingReported
    | AdapterSwapped
    | LifeMoved
    | RunStarted
    | RunEnded
)
