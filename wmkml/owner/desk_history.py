"""How a run has gone so far, for the desk's plots: the loss of every step, and measures of what each iteration said.

Kept from look to look, so that a look costs only what is new.  Reads the run's store and its `losses.jsonl`; writes
nothing and holds no words.
"""

from __future__ import annotations

import asyncio
import json
import time

from wmkml.collapse.texts import distinct_n, repetition
from wmkml.owner.desk_wire import DeskLoss, DeskMeasures
from wmkml.owner.inference_client import mean
from wmkml.owner.live_run import LiveRun
from wmkml.runs.store import StoreClosed

NEWEST = 200
"""So many of an iteration's newest answers are measured."""

FEWEST = 3
"""Fewer answers say nothing of an iteration."""

MEASURE_SECONDS = 3.0
"""Measures are taken again after so long, where there are new answers."""


class History:
    """The plots' numbers, of the run of the moment."""

    def __init__(self) -> None:
        self._run = ""
        self._read = 0
        self._losses: dict[tuple[int, int], DeskLoss] = {}
        self._measures: dict[int, DeskMeasures] = {}
        self._measured = -MEASURE_SECONDS
        self._one_at_a_time = asyncio.Lock()

    async def of(self, run: LiveRun | None) -> tuple[list[DeskLoss], list[DeskMeasures]]:
        """Losses and measures up to now, each in order; nothing while a language is awaited."""
        if run is None:
            return [], []
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(self._look, run)
            except (StoreClosed, FileNotFoundError):
                return [], []  # the run ended meanwhile, and its words with it
            return (
                [self._losses[key] for key in sorted(self._losses)],
                [self._measures[key] for key in sorted(self._measures)],
            )

    def _look(self, run: LiveRun) -> None:
        if run.name != self._run:
            self._run, self._read, self._losses, self._measures = run.name, 0, {}, {}
            self._measured = -MEASURE_SECONDS
        self._read_losses(run)
        if time.monotonic() - self._measured < MEASURE_SECONDS:
            return
        self._measured = time.monotonic()
        for iteration, count in run.store.answer_counts().items():
            if count < FEWEST:
                continue
            if iteration not in self._measures or self._measures[iteration].answers != count:
                self._measures[iteration] = _measured(run, iteration, count)

    def _read_losses(self, run: LiveRun) -> None:
        path = run.folder / "losses.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # half written; it is read once it is whole
                self._read += len(line)
                said = json.loads(line)
                if said["step"] == 1:  # a second attempt begins anew
                    self._losses = {key: one for key, one in self._losses.items() if key[0] != said["iteration"]}
                if said["loss"] is not None:
                    one = DeskLoss(iteration=said["iteration"], step=said["step"], loss=said["loss"])
                    self._losses[one.iteration, one.step] = one


def _measured(run: LiveRun, iteration: int, count: int) -> DeskMeasures:
    answers = run.store.answers_of(iteration, NEWEST)
    texts = [text for text, _ in answers]
    return DeskMeasures(
        iteration=iteration,
        answers=count,
        distinct_2=distinct_n(texts),
        repetition=repetition(texts),
        entropy=mean([entropy for _, entropy in answers if entropy is not None]),
    )
