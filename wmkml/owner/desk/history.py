"""The numbers of the desk's plots: the loss of every optimizer step, and the measures of each iteration and its answers.

Reads the run's store and its `losses.jsonl`.  Results are cached in memory between requests, so that a request reads
only new lines and answers; no words are kept.
"""

from __future__ import annotations

import asyncio
import json
import time

from wmkml.measures.registry import shown_in
from wmkml.owner.run.live_run import LiveRun
from wmkml.protocol.desk import DeskLoss, DeskMeasures
from wmkml.reports.gathering import MIN_MEASURED_ANSWERS, measures_of_answers
from wmkml.runs.database import StoreClosedError

MEASURE_INTERVAL_SECONDS = 3.0
"""Seconds between two passes over the store; only iterations with new answers are measured again."""


class RunHistory:
    """Losses and measures of the current run."""

    def __init__(self) -> None:
        self._run = ""
        self._losses_offset = 0
        self._losses: dict[tuple[int, int], DeskLoss] = {}
        self._of_answers: dict[int, dict[str, float]] = {}
        self._answer_counts: dict[int, int] = {}
        """How many answers each of them is of."""
        self._of_iterations: dict[int, dict[str, float | None]] = {}
        self._measured_at = -MEASURE_INTERVAL_SECONDS
        self._lock = asyncio.Lock()

    async def read(self, run: LiveRun | None) -> tuple[list[DeskLoss], list[DeskMeasures]]:
        """Losses by iteration and step, and measures by iteration; both empty while no run is under way."""
        if run is None:
            return [], []
        async with self._lock:
            try:
                await asyncio.to_thread(self._update, run)
            except (StoreClosedError, FileNotFoundError):
                return [], []  # the run ended meanwhile
            return (
                [self._losses[key] for key in sorted(self._losses)],
                [self._measures_of(key) for key in sorted({*self._of_answers, *self._of_iterations})],
            )

    def _update(self, run: LiveRun) -> None:
        if run.name != self._run:
            self._run, self._losses_offset, self._losses = run.name, 0, {}
            self._of_answers, self._answer_counts, self._of_iterations = {}, {}, {}
            self._measured_at = -MEASURE_INTERVAL_SECONDS
        self._read_losses(run)
        if time.monotonic() - self._measured_at < MEASURE_INTERVAL_SECONDS:
            return
        self._measured_at = time.monotonic()
        for iteration, count in run.store.answer_counts().items():
            if count >= MIN_MEASURED_ANSWERS and self._answer_counts.get(iteration) != count:
                self._of_answers[iteration] = measures_of_answers(run.store, iteration)
            self._answer_counts[iteration] = count
        self._of_iterations = {measures.iteration: measures.values for measures in run.store.measures()}

    def _measures_of(self, iteration: int) -> DeskMeasures:
        values = {**self._of_answers.get(iteration, {}), **self._of_iterations.get(iteration, {})}
        shown = {measure.name: values.get(measure.name) for measure in shown_in("desk")}
        answers = self._answer_counts.get(iteration, 0)
        return DeskMeasures.model_validate({"iteration": iteration, "answers": answers, **shown})

    def _read_losses(self, run: LiveRun) -> None:
        path = run.folder / "losses.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._losses_offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written: read again at the next request
                self._losses_offset += len(line)
                record = json.loads(line)
                iteration, step, loss = record["iteration"], record["step"], record["loss"]
                if step == 1:  # a second attempt replaces the first one's losses
                    self._losses = {key: point for key, point in self._losses.items() if key[0] != iteration}
                if loss is not None:
                    self._losses[iteration, step] = DeskLoss(iteration=iteration, step=step, loss=loss)
