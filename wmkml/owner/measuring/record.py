"""The measures that are taken once of every iteration: written down when they come in, and told from when it answers.

They come from two sides: the worker measures the model while inference loads the adapter, so that its measures come shortly
before the iteration answers or after; what the owner measures itself comes later, and in parts.  `record_measures` takes
both.  What it is given goes into the run's database at once; as soon as the iteration answers it goes into
`measures.jsonl`, to OSC, to the event stream as `measures`, and into the state.  An iteration that never answers is not
told of.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

from wmkml.measures.life import life_of
from wmkml.measures.registry import TABLE
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.run.live_run import LiveRun
from wmkml.protocol.run_state import IterationMeasures
from wmkml.protocol.training import ModelMeasures
from wmkml.runs.folder import append_line

log = logging.getLogger(__name__)

Values = Mapping[str, float | None]
"""By the measure's name; None: it could not be measured."""

Layers = Mapping[str, Sequence[float | None]]
"""A value for each of the model's layers, by the measure's name."""


class MeasureRecord:
    """What was measured of the iterations of one run."""

    def __init__(self, run: LiveRun, publisher: EventPublisher) -> None:
        """Take up what the run's store holds."""
        self._run, self._publisher = run, publisher
        self._measured: dict[int, IterationMeasures] = {}
        self._read_store()

    def record_measures(self, iteration: int, values: Values, layers: Layers | None = None) -> None:
        """Record measures of an iteration, beside what is recorded of it already; of the same name the new one holds.

        It may be called several times, before the iteration answers or after.  A number that is not finite is recorded
        as None.

        Args:
            iteration: −1 is the base model.
            values: by names of the table of measures.

        Raises:
            KeyError: the table has no such measure.
            StoreClosedError: the run is over.
        """
        if unknown := sorted({*values, *(layers or {})} - TABLE.keys()):
            raise KeyError(f"not in wmkml/measures/registry.py: {', '.join(unknown)}")
        update = IterationMeasures(
            iteration=iteration,
            values={name: _finite(value) for name, value in values.items()},
            layers={name: [_finite(value) for value in of_layers] for name, of_layers in (layers or {}).items()},
        )
        self._run.store.set_measures(iteration, update.values, update.layers)
        known = self._measured.setdefault(iteration, IterationMeasures(iteration=iteration, values={}))
        known.values.update(update.values)
        known.layers.update(update.layers)
        if iteration <= self._run.iteration:
            self._tell(update)

    def record_model(self, iteration: int, measures: ModelMeasures | None) -> None:
        """Record what a worker has measured of the model; names that this owner does not know are left out."""
        if measures is None:
            return
        if unknown := sorted({*measures.values, *measures.layers} - TABLE.keys()):
            log.warning("The worker has measured what this owner does not know: %d measures.", len(unknown))
        values = {name: value for name, value in measures.values.items() if name in TABLE}
        layers = {name: of_layers for name, of_layers in measures.layers.items() if name in TABLE}
        # By the owner's own rule, so that all of a run has the same, whatever the worker's version is.
        values.pop("life", None)
        if "forgetting" in values:
            values["life"] = life_of(values["forgetting"])
        self.record_measures(iteration, values, layers)

    def iteration_answers(self, iteration: int) -> None:
        """An iteration answers from now on, and is accepted in the store: tell what is recorded of it."""
        if iteration not in self._measured:
            self._read_store()  # it was recorded before the owner was started again
        if iteration in self._measured:
            self._tell(self._measured[iteration])

    def has_model(self, iteration: int) -> bool:
        """Whether a worker has measured the model of an iteration; its answers may be measured before."""
        measured = self._measured.get(iteration)
        return measured is not None and any(TABLE[name].of == "model" for name in measured.values)

    def of_current(self) -> IterationMeasures | None:
        """What is recorded of the iteration that answers; None where nothing is."""
        return self._measured.get(self._run.iteration)

    def life(self) -> float | None:
        """What was measured of the life of the iteration that answers; None where nothing was."""
        return self.lives().get(self._run.iteration)

    def lives(self) -> dict[int, float]:
        """The life of each iteration of which it was measured, up to the one that answers."""
        return {
            iteration: value
            for iteration, measures in sorted(self._measured.items())
            if iteration <= self._run.iteration and (value := measures.values.get("life")) is not None
        }

    def newest_values(self) -> dict[str, float]:
        """The newest value of each measure, of the iteration that answers or, where it has none, of one before it."""
        newest: dict[str, float] = {}
        for iteration in sorted(self._measured):
            if iteration <= self._run.iteration:
                values = self._measured[iteration].values
                newest.update({name: value for name, value in values.items() if value is not None})
        return newest

    def _read_store(self) -> None:
        for measures in self._run.store.measures():
            self._measured.setdefault(measures.iteration, measures)

    def _tell(self, update: IterationMeasures) -> None:
        line = {"iteration": update.iteration, "round": update.iteration + 1, **update.values}
        try:
            append_line(self._run.folder, "measures.jsonl", line | {"layers": update.layers})
        except OSError as error:
            self._publisher.notice(f"measures.jsonl of run {self._run.name} cannot be written: {error.strerror}.")
        self._publisher.measured(update)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
