"""Messages between worker and owner: claim, step, hand in, measures, failed, unable."""

from __future__ import annotations

from pydantic import Field, FiniteFloat, StrictBool

from wmkml.protocol.base import Message


class ModelMeasures(Message):
    """`POST …/measures`: what a worker measured of the model on its probe, with the adapter that it has handed in.

    A value, or one for each layer, by the measure's name.  null: it could not be measured.
    """

    values: dict[str, FiniteFloat | None]
    layers: dict[str, list[FiniteFloat | None]] = Field(default_factory=dict)


class Claim(Message):
    """`POST :8000/worker/claim`: a worker claims a round; the owner responds with a RoundJob, or 204 within a minute.

    `session` is new with every start of the worker: a claim under a new session ends the lease of the old one.
    """

    worker: str
    session: str
    shares_folder: bool
    base_measures: ModelMeasures | None = None
    """Of the base model, iteration −1."""


class Sample(Message):
    """One training sample: raw text, no markup."""

    prompt: str
    answer: str


class AdapterPlace(Message):
    """The folder of an adapter, the sha256 of its `adapter_model.safetensors`, and its iteration."""

    path: str
    sha256: str
    iteration: int


class RoundJob(Message):
    """A claimed round: everything the worker needs besides its own settings."""

    run: str
    iteration: int
    attempt: int
    learning_rate: float
    samples: list[Sample]
    previous: AdapterPlace | None
    folder: str
    """The folder to write the adapter to; it does not exist yet, and its parent exists if the disk is shared."""
    seed: int
    lease_seconds: float


class StepReport(Message):
    """`POST :8000/worker/rounds/{run}/{iteration}/{attempt}/step`: one optimizer step is done; renews the lease.

    `step` counts from 1 to `steps`; 0: no step, only a sign of life.
    """

    step: int
    steps: int
    loss: float | None = None
    learning_rate: float | None = None
    tokens: int = 0
    notice: str | None = None
    """A sentence for the operator, for example that memory ran out and the batches were halved."""


class StepReply(Message):
    """`proceed` false: the lease is lost or the run is over, and the worker drops the round."""

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
    """`upload`: the owner cannot read the path; send the adapter's files with `PUT …/adapter` and hand in again."""

    accepted: StrictBool
    upload: StrictBool = False
    reason: str = ""


class RoundFailure(Message):
    """`POST …/failed`: the round could not be trained; `reason` is one sentence without visitors' words."""

    reason: str


class WorkerUnable(Message):
    """`POST :8000/worker/unable`: this worker ends, because its settings or its machine cannot work.

    `reason` is for the operator, without visitors' words.
    """

    worker: str
    reason: str
