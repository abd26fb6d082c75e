"""Messages with the state of the run: `/state`, and the events `state`, `round`, `measures` and `swap`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from wmkml.protocol.base import Message
from wmkml.protocol.inference import NodeStatus
from wmkml.protocol.opening import OpeningState

Phase = Literal["waiting", "seeding", "running", "last_words"]


RoundStatus = Literal["open", "training", "handed_in", "held", "accepted", "skipped"]


Source = Literal["visitor", "echo", "persistent", "dataset"]


class AdapterProof(Message):
    """Whether inference uses the adapter that a round handed in, by its reading of the probe that came with it.

    Differences are means over the probe's tokens, in nats; see `wmkml.adapters.probe.judge`.
    """

    verdict: Literal["proved", "unproved", "failed"]
    compared: Literal["values", "changes"]  # log-probabilities, or how far they are from each one's own base model
    distance: (
        float | None
    )  # null: inference does not tell (a deployment elsewhere may not); else of inference from what the worker measured with the adapter
    to_previous: float | None  # from what it measured with the one before
    to_base: float | None  # from what it measured with none
    moved: float  # how far the round moved the adapter
    noise: float | None  # of inference and worker over the base model


class RoundRecord(Message):
    """One round, finished or not.  Times in seconds."""

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
    proof: AdapterProof | None = None  # null: not loaded yet, or its trainer left no probe


class IterationMeasures(Message):
    """What was measured of one iteration, once; also the event `measures`, which holds what was measured since the last one.

    Names come from `wmkml.measures.registry`.  null: it could not be measured.  `layers`: a value for each of the model's
    layers, from the first.
    """

    iteration: int
    values: dict[str, FiniteFloat | None]
    layers: dict[str, list[FiniteFloat | None]] = Field(default_factory=dict)


class RunState(Message):
    """`GET :8000/state`, and the event `state`: the public state of the run.  Contains no visitors' words."""

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
    nodes: list[NodeStatus] = Field(default_factory=list)  # other machines that answer too, in the settings' order
    worker: Literal["ready", "training", "away"]
    model: str
    engine: str
    keep_runs: bool
    log_visitor_words: bool
    carries_words: bool  # visitors' words train later runs too
    osc: bool  # visitors' words are sent to music and visuals
    autopsy: bool = False  # everybody may ask every iteration now: last words, and the settings open them
    idle_seconds: float  # a page untouched for this long forgets its visitor; 0: never
    opening: OpeningState = Field(default_factory=OpeningState)
    measures: dict[str, float] = Field(default_factory=dict)
    """By name: of the newest answers, at the round's start; of what is measured once of an iteration, the newest value."""
    measured: IterationMeasures | None = None  # of the iteration that answers; null: nothing yet
    life: float | None = None
    """How much of the newborn language is left, 1 to 0, as it is shown now: on its way to `measures["life"]`.  null: not measured."""
    lives: dict[int, float] = Field(default_factory=dict)  # what was measured of it, by iteration
    notices: list[str] = Field(default_factory=list)
    legal_pages: list[Literal["privacy", "imprint"]] = Field(default_factory=list)  # that there are


class SwapEvent(Message):
    """The event `swap`: `iteration` answers from now on.

    `swap_seconds`: since the worker's last optimizer step, without `held_seconds`, the wait for
    `minimum_iteration_time`.
    """

    iteration: int
    swap_seconds: float
    held_seconds: float
