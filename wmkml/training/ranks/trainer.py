"""Rounds on several devices: a RoundTrainer in the process of every rank, and here one that is called like it.

Every rank is given the whole round and takes its share of each step; all have the same weights, which is seen at every
adapter: its sha256 must be the same on all.  A round in which a rank is lost fails; the next one starts the ranks anew.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from wmkml.training.loop import MemoryExhaustedError, NullWatcher, TrainingResult, Watcher
from wmkml.training.lora import AdapterBrokenError
from wmkml.training.probing.model_probe import NOT_MEASURED, ModelReading
from wmkml.training.ranks.pool import RankLostError, RankMemoryError, RankPool
from wmkml.training.ranks.process import RankPlan, RankSeat
from wmkml.training.rounds import RoundTrainer, TrainingRound

log = logging.getLogger(__name__)

Build = Callable[[int, RankSeat], RoundTrainer]
"""Makes the trainer of a rank, given the tokens of a micro-batch and the rank's seat."""


class RankedTrainer:
    """A trainer of rounds whose work is done by ranks."""

    def __init__(self, build: Build, plan: RankPlan, micro_batch_tokens: int, longest_sample: int) -> None:
        """Nothing is started yet.

        Args:
            build: a function of a module, or a `partial` of one.
            micro_batch_tokens: to begin with.
            longest_sample: in tokens; smaller micro-batches need no less memory.
        """
        self._build, self._plan = build, plan
        self._longest_sample = longest_sample
        self.micro_batch_tokens = micro_batch_tokens
        self._loaded_sha256: str | None = None
        self.pool: RankPool[RoundTrainer] = RankPool(plan)

    def start(self) -> None:
        """Start the ranks, with smaller micro-batches where memory runs out amid the common work.

        Raises:
            MemoryExhaustedError: it runs out with a single sample.
            RankLostError, and what `build` raises: they cannot be started.
        """
        while True:
            self._loaded_sha256 = None
            try:
                self.pool.start(partial(self._build, self.micro_batch_tokens))
            except RankMemoryError as error:
                self._halve(error)
            else:
                log.info("%d processes train together: %s", self._plan.size, self.pool.process_ids)
                return

    def holds(self, sha256: str) -> bool:
        """As `RoundTrainer.holds`."""
        return self._loaded_sha256 == sha256 and self.pool.alive

    def train_weights(self, job: TrainingRound, watcher: Watcher) -> TrainingResult:
        """As `RoundTrainer.train_weights`; starts the ranks anew where they were lost.

        Raises:
            RankLostError: a rank was lost.
        """
        if not self.pool.alive:
            self.start()
        self._loaded_sha256 = None
        while True:
            try:
                result = self.pool.call(_train_weights, watcher, job)[0]
            except RankMemoryError as error:
                self._halve(error)
                watcher.on_notice(
                    f"{error} All are started anew, with batches of {self.micro_batch_tokens} tokens at once."
                )
                self.start()
            else:
                self.micro_batch_tokens = result.micro_batch_tokens
                return result

    def save_adapter(self, folder: Path) -> str:
        """As `RoundTrainer.save_adapter`.

        Raises:
            AdapterBrokenError: the ranks' weights differ, too.
            RankLostError: a rank was lost.
        """
        sha256, *others = self.pool.call(_save_adapter, NullWatcher(), folder)
        if any(other != sha256 for other in others):
            shutil.rmtree(folder)
            self.pool.close()
            raise AdapterBrokenError(f"{folder}: the {self._plan.size} processes that trained it have unlike weights.")
        self._loaded_sha256 = sha256
        return sha256

    def measure_base(self) -> ModelReading:
        """As `RoundTrainer.measure_base`, by the first rank; where each holds a part of the model, by all together."""
        return self._measure(_measure_base)

    def measure_model(self) -> ModelReading:
        """As `RoundTrainer.measure_model`; likewise."""
        return self._measure(_measure_model)

    def _measure(self, measure: Callable[[RoundTrainer, Watcher], ModelReading]) -> ModelReading:
        try:
            return self.pool.call(measure, NullWatcher())[0]
        except RankLostError as error:
            # The adapter is written, and the next round starts the ranks anew.
            log.warning("The model could not be measured: %s", error)
            return NOT_MEASURED

    def release_memory(self) -> None:
        """Nothing to give back: ranks share no GPU with the engine."""

    def close(self) -> None:
        """End the ranks."""
        self.pool.close()

    def _halve(self, error: RankMemoryError) -> None:
        if self.micro_batch_tokens <= self._longest_sample:
            raise MemoryExhaustedError(
                f"{error} It did with a single sample. Lower finetuning.max_length, or train on more or larger GPUs."
            ) from None
        self.micro_batch_tokens = max(self._longest_sample, self.micro_batch_tokens // 2)


def _train_weights(trainer: RoundTrainer, watcher: Watcher, job: TrainingRound) -> TrainingResult:
    return trainer.train_weights(job, watcher)


def _save_adapter(trainer: RoundTrainer, _watcher: Watcher, folder: Path) -> str:
    return trainer.save_adapter(folder)


def _measure_base(trainer: RoundTrainer, _watcher: Watcher) -> ModelReading:
    return trainer.measure_base()


def _measure_model(trainer: RoundTrainer, _watcher: Watcher) -> ModelReading:
    return trainer.measure_model()
