"""Every message that crosses a port, as pydantic models: what visitors, worker, inference and owner say to one another.

Knows nothing of how a message is handled.  At the doors of the original (`/generate_gui`, `/language`,
`/typing_event`, `/reload`) fields nobody knows are ignored; our own messages refuse them, so that a typo is noticed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

Audience = Literal["visitor", "echo", "dataset", "panel", "autopsy", "api"]
"""Whom an answer is for.  Only visitors' words go to OSC and the stage."""

PRIORITIES: dict[str, int] = {"visitor": 0, "api": 1, "panel": 2, "autopsy": 5, "echo": 10, "dataset": 10}
"""Scheduling priority of each audience; smaller is sooner."""

Phase = Literal["waiting", "seeding", "running", "last_words"]
RoundStatus = Literal["open", "training", "handed_in", "held", "accepted", "skipped"]
Source = Literal["visitor", "echo", "persistent", "dataset"]


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


# --- the original's doors ------------------------------------------------------------------------------------------


class GenerateGui(DoorMessage):
    """`POST :8000/generate_gui`."""

    prompt: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    station: Annotated[str, Field(max_length=64)] | None = None


class GenerateGuiReply(Message):
    """The whole answer, cut at the end of a sentence, and the iteration that gave it (−1 is the base model)."""

    text: str
    iteration: int


class LanguageChoice(DoorMessage):
    """`POST /language`, on both ports.  `join`: be part of a run that lives already instead of starting anew."""

    language: str
    station: Annotated[str, Field(max_length=64)] | None = None
    join: bool = False


class TypingEvent(DoorMessage):
    """`POST :8000/typing_event`."""

    status: Literal["typing", "stopped"]
    station: Annotated[str, Field(max_length=64)] | None = None


class ReloadRequest(DoorMessage):
    """`POST /reload`, on both ports: load the adapter in folder `path` as iteration `iteration`."""

    path: str
    iteration: Annotated[int, Field(ge=0)]


class ReloadReply(Message):
    """The model name under which the adapter answers, and how long loading it took."""

    status: Literal["success"] = "success"
    model: str
    seconds: float


# --- a visitor's conversation --------------------------------------------------------------------------------------


class ChatRequest(Message):
    """`POST :8000/chat`: one prompt of a station; the reply is a stream of server-sent events.

    Events: `start` (ChatStart), `token` (ChatToken), then one `end` (ChatEnd) or one `error` (Refusal).
    """

    prompt: str
    station: Annotated[str, Field(max_length=64)] = ""
    language: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None


class ChatStart(Message):
    """An answer begins; `restarted` when the engine died and the prompt is asked again: forget the tokens so far."""

    iteration: int
    restarted: bool = False


class Alternative(Message):
    """A token that was not said, and how likely it was.  No text: the answer would have ended there."""

    text: str
    probability: float


ALTERNATIVES = 5
"""So many of the likeliest tokens that were not said come with each token that was."""


class ChatToken(Message):
    """One token as it is made: its text (may be empty inside a character), probability and the entropy it was drawn from.

    Probability: softmax of the raw logits, before temperature and penalties; entropy: nats, top 20 and a rest bucket.
    `alternatives`: what else was nearly said, likeliest first; none where the engine does not know them.
    """

    text: str
    probability: float
    entropy: float
    alternatives: list[Alternative] = []


class ChatEnd(Message):
    """The answer is stored.  `kept` characters of the streamed text stay; the rest is past the end of a sentence."""

    iteration: int
    pair: int
    kept: int
    text: str


class Exchange(Message):
    """One finished exchange of a station; `text` is cut at the end of a sentence."""

    prompt: str
    text: str
    iteration: int


class ShownExchange(Exchange):
    """An exchange as a page shows it again.  `tokens` of the whole answer, past the cut too; none: no longer told."""

    tokens: list[ChatToken]


class StationWords(Message):
    """`GET :8000/station?station=ID&tokens=N`: a page's conversation, to show again, the newest N with their tokens.

    No ID: the shared station's, by key.
    """

    language: str | None
    exchanges: list[ShownExchange]


class CardRequest(Message):
    """`POST :8000/card`: a station's own first question, answered by every iteration that is loaded.

    The reply is a stream of server-sent events: `card` (CardBegins), `answer` (CardAnswer) for each iteration as it has
    answered, then one `end` (CardEnd) or one `error` (Refusal).  Nothing of it is stored, or told to anybody else.
    """

    station: Annotated[str, Field(max_length=64)]


class CardBegins(Message):
    """The question, and the iterations that are asked, the untouched model (−1) first."""

    prompt: str
    language: str
    iterations: list[int]


class CardAnswer(Message):
    """What one iteration answers, cut at the end of a sentence."""

    iteration: int
    text: str


class CardEnd(Message):
    """Every iteration that could be asked has answered: so many."""

    answers: int


# --- the run's state -----------------------------------------------------------------------------------------------


class RoundRecord(Message):
    """One round, finished or not, as the owner knows it.  Times in seconds."""

    iteration: int
    status: RoundStatus
    attempt: int = 1
    learning_rate: float
    samples: int
    step: int = 0
    steps: int = 0
    loss: float | None = None
    tokens: int = 0
    train_seconds: float = 0.0
    swap_seconds: float | None = None
    held_seconds: float = 0.0
    loss_first: float | None = None
    loss_last: float | None = None


class RunState(Message):
    """`GET :8000/state`, and the event `state`: what everyone may know of the run.  Holds no visitor's word."""

    run: str | None
    phase: Phase
    language: str | None
    languages: list[str]
    iteration: int
    num_total_iters: int
    elapsed_seconds: float
    time_left_seconds: float | None
    round: RoundRecord | None
    rounds: list[RoundRecord]
    pairs: dict[Source, int]
    stations: int
    inference: Literal["ready", "away"]
    worker: Literal["ready", "training", "away"]
    model: str
    engine: str
    keep_runs: bool
    log_visitor_words: bool
    carries_words: bool  # what visitors say trains later runs, too
    osc: bool  # what visitors say goes to music and visuals
    idle_seconds: float  # a page nobody touched for so long forgets its visitor; 0: never
    notices: list[str] = []


class SwapEvent(Message):
    """The event `swap`: from now on `iteration` answers, so long after the worker's last optimizer step.

    The hold of `minimum_iteration_time`, `held_seconds`, is no part of `swap_seconds`.
    """

    iteration: int
    swap_seconds: float
    held_seconds: float


# --- owner and worker ----------------------------------------------------------------------------------------------


class Claim(Message):
    """`POST :8000/worker/claim`: a worker asks for a round; the owner answers RoundJob, or 204 after under a minute.

    `session` is new with every start of the worker: a claim under a new session ends the lease of the old one.
    """

    worker: str
    session: str
    shares_folder: bool


class Sample(Message):
    """One training sample: raw text, no markup."""

    prompt: str
    answer: str


class AdapterPlace(Message):
    """Where an adapter is, and the sha256 of its `adapter_model.safetensors`."""

    path: str
    sha256: str
    iteration: int


class RoundJob(Message):
    """A claimed round: everything the worker needs beyond its own settings."""

    run: str
    iteration: int
    attempt: int
    learning_rate: float
    samples: list[Sample]
    previous: AdapterPlace | None
    folder: str
    """The folder the adapter shall have, which does not exist yet; its parent does, where the disk is shared."""
    seed: int
    lease_seconds: float


class StepReport(Message):
    """`POST :8000/worker/rounds/{run}/{iteration}/{attempt}/step`: one optimizer step was made; renews the lease.

    `step` counts from 1 to `steps`; 0 says only that the worker lives.
    """

    step: int
    steps: int
    loss: float | None = None
    learning_rate: float | None = None
    tokens: int = 0
    notice: str | None = None
    """A sentence for the operator, such as that memory ran out and the batch was halved."""


class StepReply(Message):
    """`proceed` is false when the lease is lost or the run is over: the worker drops the round."""

    proceed: StrictBool


class HandIn(Message):
    """`POST …/hand_in`: the adapter is written, checked and in place."""

    path: str
    sha256: str
    tokens: int
    train_seconds: float
    seconds_since_last_step: float
    loss_first: float
    loss_last: float


class HandInReply(Message):
    """`upload`: the owner cannot see that path; send the adapter's files with `PUT …/adapter` and hand in again."""

    accepted: StrictBool
    upload: StrictBool = False
    reason: str = ""


class RoundFailure(Message):
    """`POST …/failed`: the round could not be trained; `reason` is one sentence without visitors' words."""

    reason: str


# --- owner and inference -------------------------------------------------------------------------------------------


class CurrentIteration(Message):
    """`POST :8011/current`: this iteration answers from now on (−1: the base model).  Inference tells OSC."""

    iteration: Annotated[int, Field(ge=-1)]


class UnloadRequest(Message):
    """`POST :8011/unload`: drop these iterations' adapters; none named means all.  Requests under way are ended first."""

    iterations: list[int] | None = None


class ChatMessage(BaseModel):
    """One message of the OpenAI protocol; only text content."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: str


class CompletionRequest(BaseModel):
    """`POST :8011/v1/chat/completions`: the OpenAI protocol, and `audience` and `station` of our own."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str = "current"
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: Annotated[int, Field(ge=1, le=64)] = 1
    stop: str | list[str] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    audience: Audience = "api"
    station: str | None = None


class OscSent(Message):
    """`GET :8011/osc`, and part of DeskState: the last OSC message to an address; `at` in seconds since 1970.

    `values` are left out where they are words.
    """

    address: str
    at: float
    values: list[str | int | float]


def model_name(iteration: int, base: str) -> str:
    """The name under which an iteration answers on :8011: `iteration-3`; the base model has its own name."""
    return base if iteration < 0 else f"iteration-{iteration}"
