"""Messages of the operator's desk, `/desk/…`.  Their TypeScript counterpart is `frontend/src/desk/desk_wire.ts`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool

from wmkml.protocol.base import Message
from wmkml.protocol.conversation import Exchange
from wmkml.protocol.inference import NodeState, OscSent
from wmkml.protocol.run_state import RunState


class DeskDoor(Message):
    """`GET :8000/desk/door`: whether this browser is logged in; the only response of the desk that needs no login."""

    open: bool


class DeskLogin(Message):
    """`POST :8000/desk/login`, as JSON or as a form: the PIN; the response sets a session cookie."""

    pin: Annotated[str, Field(max_length=64)]


class DeskLanguage(Message):
    """`POST /desk/start`: start a new run in this language; a run under way ends."""

    language: Annotated[str, Field(max_length=64)]


class DeskKey(Message):
    """`POST /desk/rotate`: replace this key, or the desk's PIN; whoever has the old one is refused from then on."""

    name: Literal["stage", "worker", "operator", "pin", "node"]


class DeskNewKey(Message):
    """The answer: the new key, which no other response ever holds."""

    name: str
    key: str


class DeskHold(Message):
    """`POST /desk/hold`: while `holding`, no round begins and no adapter is switched in."""

    holding: StrictBool


class DeskDials(Message):
    """Values that rounds and answers take; null: the value in the settings.

    `minimum_iteration_time`: seconds; `temperature`: of echoes and dataset answers; `learning_rate`: 0 where the settings have
    it fall so far.
    """

    temperature: float | None = None
    visitor_temperature: float | None = None
    learning_rate: float | None = None
    minimum_iteration_time: float | None = None


class DeskDialRequest(DeskDials):
    """`POST /desk/dials`: values that apply from the next round on; null: the value in the settings."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    visitor_temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    minimum_iteration_time: Annotated[float, Field(ge=0, le=86400)] | None = None


LightColour = Literal["good", "busy", "trouble", "off"]


class DeskLight(Message):
    """The state of one process as a traffic light.

    `code` selects the sentence the page shows; `seconds`: how long the state has lasted; `count`: how many there are.
    """

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
    """The measures of one iteration, and of its stored answers (datasets' left out): a field for each that the desk shows.

    Their names come from `wmkml.measures.registry`; None where there is nothing to measure.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())
    __pydantic_extra__: dict[str, float | None]

    iteration: int
    answers: int


class DeskOscHost(Message):
    """An OSC host, and whether the last message could be sent to it."""

    host: str
    port: int
    reachable: bool


class DeskGpu(Message):
    """One GPU: memory in GiB, utilisation (`busy`) from 0 to 1."""

    name: str
    used_gib: float
    total_gib: float
    busy: float | None


class DeskMachine(Message):
    """Disk and memory of the owner's machine, in GiB, and its GPUs, if any."""

    disk_free_gib: float
    disk_total_gib: float
    memory_free_gib: float
    memory_total_gib: float
    gpus: list[DeskGpu]


class DeskProblem(Message):
    """A problem for the operator, by its code in `wmkml.problems.table`; it holds no visitor's word.

    `detail` is filled into its title; `since`: when it was first seen, in seconds since 1970.
    """

    code: str
    detail: str = ""
    since: float = 0.0


class DeskNotice(Message):
    """A notice of the owner, and when it was last given (seconds since 1970; null: at the owner's start)."""

    text: str
    at: float | None


class ProblemList(Message):
    """`GET :8000/operator/problems`: what is wrong now, and the owner's notices, newest first."""

    problems: list[DeskProblem]
    notices: list[DeskNotice]


class DeskState(Message):
    """`GET :8000/desk/state`: everything the desk shows.  Contains no visitors' words."""

    at: float
    run: RunState
    lights: list[DeskLight]
    holding: bool
    blank: bool
    hold_left_seconds: float | None
    """Seconds until the trained adapter may answer at the earliest; null: no round is under way."""
    losses: list[DeskLoss]
    measures: list[DeskMeasures]
    dials_settings: DeskDials
    dials_now: DeskDials
    dials_turned: DeskDials
    osc_hosts: list[DeskOscHost]
    osc_sent: list[OscSent]
    machine: DeskMachine
    nodes: list[NodeState]
    problems: list[DeskProblem]
    notices: list[DeskNotice]


class DeskReport(Message):
    """The report of a run that is over.  `started_at`: seconds since 1970; `seconds`: how long it lasted.

    `rounds`: how many iterations have answered; `words`: whether answers are in it; `files`: those that are there, the page
    `report.html` last of all.
    """

    run: str
    language: str
    started_at: float
    seconds: float
    rounds: int
    words: bool
    files: list[str]


class DeskReports(Message):
    """`GET :8000/desk/reports`: the newest reports, newest first, and how many there are in all."""

    count: int
    reports: list[DeskReport]


class DeskExchange(Exchange):
    """An exchange with the number of its pair."""

    pair: int


class DeskWords(Message):
    """`GET :8000/desk/words`: the last exchanges, newest first; sent only on the operator's request."""

    exchanges: list[DeskExchange]


class DeskPair(Message):
    """`POST /desk/remove_pair`: take this pair out of the run; the reply is a ForgetReply."""

    pair: Annotated[int, Field(ge=0, lt=2**63)]  # what SQLite holds
