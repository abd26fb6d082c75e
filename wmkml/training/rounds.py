"""Rounds: one model, wrapped once, that goes through round after round, each from the last accepted adapter.

Knows how a round begins (a fresh LoRA, or the one named), how it is trained and how its adapter is written.
It knows no owner: who decides about rounds, and where their folders are, comes in with each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wmkml.training.base import Base
from wmkml.training.loop import Recipe, Trained, Unwatched, Watcher, train
from wmkml.training.lora import AdapterBroken, LoraShape, fill, make_fresh, wrap
from wmkml.training.samples import LossOn, Tokens, prepare
from wmkml.training.writing import write_adapter

PROBE_TOKENS = 64
"""How much of a sample the last look at a new adapter reads."""


@dataclass(frozen=True)
class Previous:
    """The adapter a round goes on from: its folder, and the sha256 of its weights' file."""

    folder: Path
    sha256: str


@dataclass(frozen=True)
class Round:
    """One round: (prompt, answer) pairs, its rate, and where its adapter shall be."""

    pairs: tuple[tuple[str, str], ...]
    learning_rate: float
    seed: int
    previous: Previous | None
    folder: Path


@dataclass(frozen=True)
class RoundDone:
    """A trained round, its adapter checked and in place."""

    folder: Path
    sha256: str
    trained: Trained


@dataclass(frozen=True)
class Habits:
    """What is the same in every round: the recipe (its rate and seed come with the round), and how samples are cut."""

    recipe: Recipe
    max_length: int
    loss_on: LossOn


class RoundTrainer:
    """A base model with its LoRA.  Nothing is loaded, wrapped or compiled between rounds."""

    def __init__(self, base: Base, shape: LoraShape, habits: Habits) -> None:
        """Wrap the base model (in place).

        Raises:
            ModulesMissing: the model has no layer of the names in `shape`.
        """
        self.base = base
        self.model = wrap(base, shape)
        self._recipe = replace(habits.recipe, autocast=base.autocast)
        self._habits = habits
        self._inside: str | None = None
        self._probe_ids: tuple[int, ...] = (base.tokenizer.bos_token_id or 0,)

    @property
    def micro_batch_tokens(self) -> int:
        """How many tokens go through the model at once: as the recipe says, or what fitted the memory since."""
        return self._recipe.micro_batch_tokens

    def holds(self, sha256: str) -> bool:
        """Whether the weights in memory are those of the adapter with this sha256."""
        return self._inside == sha256

    def warm_up(self) -> None:
        """One forward and backward, thrown away, so that the first round is not the slow one."""
        self._inside = None
        make_fresh(self.model, 0)
        ids = tuple([self.base.tokenizer.eos_token_id or 0] * 48)
        recipe = replace(self._recipe, learning_rate=0.0, epochs=1, samples_per_step=8)
        train(self.model, [Tokens(ids, ids)] * 8, recipe, Unwatched())

    def learn(self, job: Round, watcher: Watcher) -> Trained:
        """Train one round; its weights are in memory afterwards.

        Raises:
            AdapterBroken: the previous adapter cannot be read.
            TrainingDropped, TrainingSpoiled, MemoryExhausted: as `loop.train`.
            In every case the next round starts from the adapter it names, not from what is in memory.
        """
        samples = prepare(self.base.tokenizer, job.pairs, self._habits.max_length, self._habits.loss_on)
        if left_out := len(job.pairs) - len(samples):
            watcher.noticed(f"{left_out} of {len(job.pairs)} samples hold nothing to learn and were left out.")
        self._begin(job)
        self._inside = None
        recipe = replace(self._recipe, learning_rate=job.learning_rate, seed=job.seed)
        trained = train(self.model, samples, recipe, watcher)
        # What fitted the memory once is not tried larger again.
        self._recipe = replace(self._recipe, micro_batch_tokens=trained.micro_batch_tokens)
        self._probe_ids = samples[0].ids[:PROBE_TOKENS]
        return trained

    def put_down(self, folder: Path) -> str:
        """Check what was learnt and write it to a folder that does not exist yet; its sha256.

        Raises:
            AdapterBroken: it must not be served, or cannot be written there.
            PlaceGone: the folder it is to be in is not there.
        """
        sha256 = write_adapter(self.model, folder, lambda: self._probe(folder))
        self._inside = sha256
        return sha256

    def train(self, job: Round, watcher: Watcher) -> RoundDone:
        """`learn`, then `put_down`."""
        trained = self.learn(job, watcher)
        return RoundDone(job.folder, self.put_down(job.folder), trained)

    def _begin(self, job: Round) -> None:
        if job.previous is None:
            make_fresh(self.model, job.seed)
        elif not self.holds(job.previous.sha256):
            fill(self.model, job.previous.folder, job.previous.sha256)

    def _probe(self, folder: Path) -> None:
        ids = torch.tensor([self._probe_ids], device=self.base.device)
        self.model.eval()
        enabled = self.base.autocast is not None
        with torch.no_grad(), torch.autocast(self.base.device.type, dtype=self.base.autocast, enabled=enabled):
            logits = self.model(input_ids=ids, use_cache=False).logits
        if not bool(torch.isfinite(logits).all()):
            raise AdapterBroken(f"{folder}: with these weights the model's logits are not finite.")
