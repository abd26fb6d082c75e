"""What the operator's desk asks and is told: the messages of `/desk/…`, beside those of `wmkml.wire`.

The page's own counterpart is `frontend/src/desk/desk_wire.ts`.  Knows nothing of how a message is handled.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from wmkml.wire import Exchange, Message, OscSent, RunState


class DeskDoor(Message):
    """`GET :8000/desk/door`: whether this browser is logged in; the one thing the desk tells everybody."""

    open: bool


class DeskLogin(Message):
    """`POST :8000/desk/login`, as JSON or as a form: the PIN, for a session's cookie."""

    pin: Annotated[str, Field(max_length=64)]


class DeskLanguage(Message):
    """`POST /desk/start`: a run in this language, from nothing; a run under way ends for it."""

    language: Annotated[str, Field(max_length=64)]


class DeskHold(Message):
    """`POST /desk/hold`: the language stays as it is until released: no round begins, no adapter is switched in."""

    holding: StrictBool


class DeskDials(Message):
    """`POST /desk/dials`: numbers from the next round on; none: what the settings say.

    `minimum_iteration_time` in seconds; `temperature` of echoes and dataset answers.
    """

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    visitor_temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    minimum_iteration_time: Annotated[float, Field(ge=0, le=86400)] | None = None


LightColour = Literal["good", "busy", "trouble", "off"]


class DeskLight(Message):
    """One process as a traffic light; `code` names the sentence, `seconds` how long it is so, `count` how many there are."""

    name: Literal["owner", "inference", "worker", "stage"]
    light: LightColour
    code: str
    seconds: float | None = None
    count: int = 0


class DeskLoss(Message):
    """The loss of one optimizer step."""

    iteration: int
    step: int
    loss: float


class DeskMeasures(Message):
    """What one iteration's stored answers look like (datasets' left out); entropy in nats."""

    iteration: int
    answers: int
    distinct_2: float
    repetition: float
    entropy: float | None


class DeskOscHost(Message):
    """An OSC host, and whether the last message could be sent there."""

    host: str
    port: int
    reachable: bool


class DeskGpu(Message):
    """One GPU, in GiB; `busy` from 0 to 1."""

    name: str
    used_gib: float
    total_gib: float
    busy: float | None


class DeskMachine(Message):
    """What is free on the owner's machine, in GiB; no GPU is an empty list."""

    disk_free_gib: float
    disk_total_gib: float
    memory_free_gib: float
    memory_total_gib: float
    gpus: list[DeskGpu]


class DeskProblem(Message):
    """Something the operator should look after; `code` names the sentence and what to do, `detail` fills it in."""

    code: str
    detail: str = ""


class DeskNotice(Message):
    """A sentence of the owner's own, and when it was last said (seconds since 1970; none: at its start)."""

    text: str
    at: float | None


class DeskState(Message):
    """`GET :8000/desk/state`: everything the desk shows.  Holds no visitor's word."""

    at: float
    run: RunState
    lights: list[DeskLight]
    holding: bool
    blank: bool
    hold_left_seconds: float | None
    """Until the adapter that is trained may answer, at the earliest."""
    losses: list[DeskLoss]
    measures: list[DeskMeasures]
    dials_settings: DeskDials
    dials_now: DeskDials
    dials_turned: DeskDials
    osc_hosts: list[DeskOscHost]
    osc_sent: list[OscSent]
    machine: DeskMachine
    problems: list[DeskProblem]
    notices: list[DeskNotice]


class DeskWords(Message):
    """`GET :8000/desk/words`: the last exchanges, newest first; only ever sent when the operator asks for them."""

    exchanges: list[Exchange]
