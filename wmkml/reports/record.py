"""The record of a run: the numbers that its report is made from, as `report.json` holds them.

It holds no word of a visitor and none of an answer, except in `words`, which only a run that is kept has.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from wmkml.protocol.run_state import RoundStatus

RECORD_FORMAT = 1
"""Version of the form below."""


class RecordPart(BaseModel):
    """Base of the record's parts.  What a later version may have added is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class RoundNumbers(RecordPart):
    """One round.  Times in seconds, `began` since the run's start; losses in nats."""

    iteration: int
    status: RoundStatus
    began: float
    learning_rate: float
    samples: int
    steps: int
    tokens: int
    train_seconds: float
    swap_seconds: float | None
    loss_first: FiniteFloat | None
    loss_last: FiniteFloat | None


class StepLoss(RecordPart):
    """The loss of one optimizer step, in nats; steps of a round count from 1."""

    iteration: int
    step: int
    loss: FiniteFloat


class IterationNumbers(RecordPart):
    """The measures of one iteration by their names in `wmkml.measures.registry`; None: it could not be measured.

    `answers`: how many of its answers are stored, datasets' left out.  `layers`: a value for each of the model's layers.
    """

    iteration: int
    answers: int
    values: dict[str, FiniteFloat | None]
    layers: dict[str, list[FiniteFloat | None]] = Field(default_factory=dict)


class IterationAnswer(RecordPart):
    """What one iteration answered to a prompt."""

    iteration: int
    prompt: str
    answer: str


class KeptWords(RecordPart):
    """Answers of a run that is kept, by iteration: to the persistent prompt, and to the prompts of the panel."""

    persistent: list[IterationAnswer]
    panel: list[IterationAnswer]


class RunRecord(RecordPart):
    """A run in numbers.

    Attributes:
        kind: what created it, as in `run.json`.
        started_at: seconds since 1970.
        seconds: how long it has lasted.
        finished: whether it is over.
        rounds_planned: how many rounds its settings give it.
        pairs: the number of stored pairs by source, those taken over from the run before left out.
        stations: how many stations have said something.
        losses: by iteration and step; of a round that was tried twice, the second attempt.
        settings: those that shape the language and differ from their defaults, by dotted key.
        words: None where the run is not kept.
    """

    format: int = RECORD_FORMAT
    run: str
    kind: str
    language: str
    model: str
    started_at: float
    seconds: float
    finished: bool
    rounds_planned: int
    pairs: dict[str, int]
    stations: int
    rounds: list[RoundNumbers]
    losses: list[StepLoss]
    measures: list[IterationNumbers]
    settings: dict[str, Any]
    words: KeptWords | None = None

    def accepted(self) -> list[RoundNumbers]:
        """The rounds whose adapter has answered, by iteration."""
        return [round_ for round_ in self.rounds if round_.status == "accepted"]
