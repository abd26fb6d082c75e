"""Train rounds: one model, wrapped once, trained round after round, each from the last accepted adapter.

A round starts from a reset LoRA or from the adapter it names, is trained, and its adapter is checked and written.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from wmkml.adapters.probe import Probe
from wmkml.training.adapter_writer import weights_sha256, write_adapter
from wmkml.training.base_model import FrozenBase, window_of
from wmkml.training.loop import NullWatcher, Recipe, TrainingResult, Watcher, train
from wmkml.training.lora import AdapterBrokenError, LoraShape, load_lora, reset_lora, wrap_with_lora
from wmkml.training.probe import log_probabilities, probe_tokens
from wmkml.training.probing.forgetting import ForgettingProbe
from wmkml.training.probing.model_probe import NOT_MEASURED, ModelProbe, ModelReading
from wmkml.training.ranks.group import ALONE, RankGroup
from wmkml.training.samples import LossOn, TokenizedSample, tokenize_pairs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreviousAdapter:
    """The adapter a round continues: its folder, and the sha256 of its weights file."""

    folder: Path
    sha256: str


@dataclass(frozen=True)
class TrainingRound:
    """The input of one round: (prompt, answer) pairs, the adapter to continue (`previous`), the folder to write."""

    pairs: tuple[tuple[str, str], ...]
    learning_rate: float
    seed: int
    previous: PreviousAdapter | None
    folder: Path


@dataclass(frozen=True)
class TrainedRound:
    """A trained round: its adapter, checked and in place, and the training's result."""

    folder: Path
    sha256: str
    result: TrainingResult


@dataclass(frozen=True)
class RoundDefaults:
    """What is the same in every round: the recipe (rate and seed come with the round) and how samples are tokenized."""

    recipe: Recipe
    max_length: int
    loss_on: LossOn


class Trainer(Protocol):
    """What trains a worker's rounds: a RoundTrainer, or several of them together (`wmkml.training.ranks.trainer`)."""

    def holds(self, sha256: str) -> bool:
        """Whether the weights in memory are those of the adapter with this sha256."""
        ...

    def train_weights(self, job: TrainingRound, watcher: Watcher) -> TrainingResult:
        """Train one round; its weights are in memory afterwards, and not yet on disk."""
        ...

    def save_adapter(self, folder: Path) -> str:
        """Check the trained weights and write them to a folder that does not exist yet; returns their sha256."""
        ...

    def measure_base(self) -> ModelReading:
        """What the measuring probe tells of the base model.  Raises nothing: what cannot be measured is None."""
        ...

    def measure_model(self) -> ModelReading:
        """The same of the model with the weights that are in memory."""
        ...

    def release_memory(self) -> None:
        """Give back the GPU memory that torch keeps for the next batch, for whoever shares the GPU."""
        ...

    def close(self) -> None:
        """End what was started for the training."""
        ...


class RoundTrainer:
    """A base model with a LoRA that trains rounds.  Nothing is loaded, wrapped or compiled between rounds."""

    def __init__(self, base: FrozenBase, shape: LoraShape, defaults: RoundDefaults, group: RankGroup = ALONE) -> None:
        """Wrap the base model (in place).

        Args:
            group: of processes that train the same rounds together.  Each has a trainer, whose methods are called alike;
                only that of rank 0 writes.

        Raises:
            ModulesMissingError: the model has no layer of the names in `shape`.
        """
        self.base = base
        self.model = wrap_with_lora(base, shape)
        self._recipe = replace(defaults.recipe, autocast=base.autocast, packed=base.packed)
        self._defaults = defaults
        self._group = group
        self._loaded_sha256: str | None = None
        self._probe_tokens = probe_tokens(base.tokenizer, window_of(base.model))
        self._model_probe = ModelProbe(self.model, base)
        self._forgetting_probe = ForgettingProbe(self.model, base)
        self._of_base: tuple[float, ...] | None = None
        """Log-probabilities of the probe's text by the base model; measured once, before the first round."""
        self._of_start: tuple[float, ...] = ()
        """The same by the adapter that the round under way went on from."""

    @property
    def micro_batch_tokens(self) -> int:
        """Most tokens per forward pass: the recipe's limit, or the lower one that fitted the memory since."""
        return self._recipe.micro_batch_tokens

    def holds(self, sha256: str) -> bool:
        """Whether the weights in memory are those of the adapter with this sha256."""
        return self._loaded_sha256 == sha256

    def warm_up(self) -> None:
        """Train one step with rate zero, so that the first round is not slowed by lazy initialisation."""
        self._loaded_sha256 = None
        reset_lora(self.model, 0)
        # Where each rank has a part of the model, memory that runs out costs a new start: better now than in a round.
        length = self._defaults.max_length if self._group.lockstep else 48
        ids = tuple([self.base.tokenizer.eos_token_id or 0] * length)
        count = max(8, self._group.size * self.micro_batch_tokens // length) if self._group.lockstep else 8
        recipe = replace(self._recipe, learning_rate=0.0, epochs=1, samples_per_step=count)
        train(self.model, [TokenizedSample(ids, ids)] * count, recipe, NullWatcher(), self._group)

    def train_weights(self, job: TrainingRound, watcher: Watcher) -> TrainingResult:
        """Train one round; its weights are in memory afterwards, and not yet on disk.

        After an error the next round loads the adapter it names from disk; what is in memory is not used.

        Raises:
            AdapterBrokenError: the previous adapter cannot be read.
            TrainingDroppedError, TrainingSpoiledError, MemoryExhaustedError: as `loop.train`.
        """
        samples = tokenize_pairs(self.base.tokenizer, job.pairs, self._defaults.max_length, self._defaults.loss_on)
        if left_out := len(job.pairs) - len(samples):
            watcher.on_notice(f"{left_out} of {len(job.pairs)} samples hold nothing to learn and were left out.")
        self._load_start(job)
        self._loaded_sha256 = None
        self._measure_start(job)
        recipe = replace(self._recipe, learning_rate=job.learning_rate, seed=job.seed)
        result = train(self.model, samples, recipe, watcher, self._group)
        # Keep the lower limit: trying the larger one again would run out of memory again.
        self._recipe = replace(self._recipe, micro_batch_tokens=result.micro_batch_tokens)
        return result

    def save_adapter(self, folder: Path) -> str:
        """Check the trained weights and write them to a folder that does not exist yet; returns their sha256.

        Raises:
            AdapterBrokenError: they must not be served, or cannot be written there.
            FolderGoneError: the parent folder does not exist.
        """
        # First, and by every rank: where each has a part of the model, all must read the text together.
        probe = self._measure_result(folder)
        writes = self._group.rank == 0
        sha256 = write_adapter(self.model, folder, lambda: probe) if writes else weights_sha256(self.model)
        self._loaded_sha256 = sha256
        return sha256

    def train(self, job: TrainingRound, watcher: Watcher) -> TrainedRound:
        """`train_weights`, then `save_adapter`."""
        result = self.train_weights(job, watcher)
        return TrainedRound(job.folder, self.save_adapter(job.folder), result)

    def measure_base(self) -> ModelReading:
        """What the measuring probe tells of the base model.  Raises nothing: what cannot be measured is None."""
        return self._measure(self._model_probe.measure_base, self._forgetting_probe.measure_base)

    def measure_model(self) -> ModelReading:
        """The same of the model with the weights that are in memory."""
        return self._measure(self._model_probe.measure, self._forgetting_probe.measure)

    def measure_forgetting(self) -> float:
        """How much of the base model's expectations is lost with the weights in memory, in nats, as `ForgettingProbe.measure`."""
        return self._forgetting_probe.measure()

    def _measure(self, measure: Callable[[], ModelReading], forgetting: Callable[[], float]) -> ModelReading:
        if self._group.rank and not self._group.lockstep:
            return (
                NOT_MEASURED  # all have the same weights, and the first one tells; in lockstep all must read together
            )
        try:
            reading, lost = measure(), forgetting()
            return replace(reading, values={**reading.values, "forgetting": lost if math.isfinite(lost) else None})
        except Exception as error:
            log.exception("The model could not be measured (%s).", type(error).__name__)
            return NOT_MEASURED

    def release_memory(self) -> None:
        """Give back the GPU memory that torch keeps for the next batch, for whoever shares the GPU."""
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Nothing to end: it trains in this process."""

    def _load_start(self, job: TrainingRound) -> None:
        if job.previous is None:
            reset_lora(self.model, job.seed)
        elif not self.holds(job.previous.sha256):
            load_lora(self.model, job.previous.folder, job.previous.sha256)

    def _measure_start(self, job: TrainingRound) -> None:
        """Read the probe's text before the round trains, so that its adapter can be told from the one it went on from."""
        if self._of_base is None:
            with self.model.disable_adapter():
                self._of_base = self._read_probe()
        self._of_start = self._of_base if job.previous is None else self._read_probe()

    def _measure_result(self, folder: Path) -> Probe:
        assert self._of_base is not None
        of_adapter = self._read_probe()
        if not all(map(math.isfinite, of_adapter)):
            raise AdapterBrokenError(f"{folder}: with these weights the model's logits are not finite.")
        return Probe(self._probe_tokens, self._of_base, self._of_start, of_adapter)

    def _read_probe(self) -> tuple[float, ...]:
        return log_probabilities(self.model, self._probe_tokens, self.base.device, self.base.autocast)
