"""A prepared finetune, trained and written: what happens, in order."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wmkml.adapters.files import ADAPTER_FILES
from wmkml.corpora import Pair
from wmkml.dialogue.chat_template import Message
from wmkml.dialogue.templates import save_template, use_template
from wmkml.finetuning import output
from wmkml.finetuning.answering import ModelAnswers
from wmkml.finetuning.checkpoint import (
    Checkpoint,
    HeldOut,
    delete_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from wmkml.finetuning.comparison import AnsweredPrompt, answer_prompts, diversity
from wmkml.finetuning.control import Interruption
from wmkml.finetuning.preparation import estimate
from wmkml.finetuning.preparation.prepare import Preparation
from wmkml.finetuning.progress import LiveLine
from wmkml.finetuning.voices.merging import merge_adapter, write_model
from wmkml.training.adapter_writer import write_lora_into
from wmkml.training.base_model import FrozenBase, Precision, WeightPrecision, load_base
from wmkml.training.held_out import held_out_loss
from wmkml.training.kernels.choice import with_fast_kernels, with_packing
from wmkml.training.loop import NullWatcher, OptimizerStep, TrainingResult, TrainingState, train
from wmkml.training.lora import ADAPTER_NAME, LoraShape, reset_lora, tied_embeddings_accepted, wrap_with_lora
from wmkml.training.ranks.group import ALONE
from wmkml.training.ranks.process import RankSeat
from wmkml.training.ranks.sharding import load_sharded_base


@dataclass(frozen=True)
class Finetuned:
    """A finetune that is done, or was interrupted.

    Attributes:
        done: False: it was interrupted, and its checkpoint is in the folder.
        ended_early: the step of the weights that were kept, where the held-out loss had stopped falling.
        seconds: of training with its evaluations, loading left out.
        peak: bytes of the device's memory.
    """

    folder: Path
    done: bool
    losses: tuple[float, ...]
    held_out: tuple[HeldOut, ...]
    seconds: float
    peak: int
    ended_early: int | None = None
    before: tuple[AnsweredPrompt, ...] = ()
    after: tuple[AnsweredPrompt, ...] = ()
    diversity_before: dict[str, float] = dataclasses.field(default_factory=dict)
    diversity_after: dict[str, float] = dataclasses.field(default_factory=dict)


class Finetune:
    """A prepared finetune with its model loaded: evaluates, trains, and writes."""

    def __init__(
        self, preparation: Preparation, live: LiveLine, interruption: Interruption, seat: RankSeat | None = None
    ) -> None:
        """`seat`: this process's place among those that train together; None: it trains alone."""
        self._plan, self._settings, self._live = preparation, preparation.settings, live
        self._interruption = interruption
        self._seat = seat or RankSeat(ALONE, preparation.device)
        self._group = self._seat.group
        self._writes = self._group.rank == 0
        self._stopped = False
        self._identity = preparation.identity()
        self._base = self._load()
        self._model = self._trainable()
        self._recipe = dataclasses.replace(preparation.recipe, autocast=self._base.autocast, packed=self._base.packed)
        self._held_out: list[HeldOut] = []
        self._best: tuple[torch.Tensor, ...] | None = None
        self._losses: list[float] = []
        self._answers = ModelAnswers(
            self._model, self._base.tokenizer, preparation.template.stops, autocast=self._base.autocast
        )

    def run(self, *, resume: bool) -> Finetuned:
        """Train from the beginning or from the checkpoint, and write what came of it.

        Raises:
            TrainingSpoiledError, MemoryExhaustedError: as `loop.train`.
        """
        settings, plan = self._settings, self._plan
        start: TrainingState | None = None
        before: list[AnsweredPrompt] = []
        if resume:
            checkpoint = load_checkpoint(settings.out, self._identity)
            start, self._best = checkpoint.state, checkpoint.best
            self._held_out, self._losses = list(checkpoint.held_out), list(start.losses)
            if self._writes:
                output.cut_lines(settings.out, len(start.losses))
        else:
            self._evaluate(0)
        pairs = plan.held_out.shown
        if resume:
            # Those of the beginning: with --full the base is there no more.
            before = output.read_answers(settings.out, output.BEFORE, pairs)
        else:
            before = self._answer(pairs, base=True)
            if self._writes:
                output.write_answers(settings.out, output.BEFORE, before, diversity(before))
        began = time.monotonic()
        self._live.begin(len(self._losses), start.tokens if start else 0)
        result = train(
            self._model,
            plan.words.store,
            self._recipe,
            NoticeWatcher(self._live),
            self._group,
            start=start,
            after_step=self._after_step,
        )
        seconds = time.monotonic() - began
        self._losses = list(result.losses)
        peak = estimate.peak_on(plan.device)
        if self._stopped and len(result.losses) < plan.steps:
            return Finetuned(settings.out, False, result.losses, tuple(self._held_out), seconds, peak)
        return self._finish(result, before, pairs, seconds, peak)

    def _finish(
        self,
        result: TrainingResult,
        before: list[AnsweredPrompt],
        pairs: Sequence[Pair],
        seconds: float,
        peak: int,
    ) -> Finetuned:
        ended_early = self._keep_best()
        after = self._answer(pairs, base=False)
        folder = self._settings.out
        of_before, of_after = diversity(before), diversity(after)
        if self._writes:
            self._write_weights(folder)
            output.write_answers(folder, output.AFTER, after, of_after)
        return Finetuned(
            folder,
            True,
            result.losses,
            tuple(self._held_out),
            seconds,
            peak,
            ended_early,
            tuple(before),
            tuple(after),
            of_before,
            of_after,
        )

    def _load(self) -> FrozenBase:
        plan, settings = self._plan, self._settings
        if self._group.lockstep:
            base = load_sharded_base(settings.model, _halves(plan.precision), self._seat, needs_template=False)
            use_template(base.tokenizer, plan.template)
            return base
        autocast = torch.bfloat16 if settings.full and plan.device.type == "cuda" else None
        base = load_base(settings.model, plan.precision, plan.device, needs_template=False, autocast=autocast)
        use_template(base.tokenizer, plan.template)
        if settings.packing == "on":
            return with_packing(base)
        return with_fast_kernels(base, wants_packing=settings.packing == "auto")

    def _trainable(self) -> Any:
        settings = self._settings
        if settings.full:
            return self._base.model.requires_grad_(True)
        lora = settings.lora
        with tied_embeddings_accepted():
            model = wrap_with_lora(self._base, LoraShape(lora.rank, lora.alpha, lora.dropout, self._plan.targets))
        reset_lora(model, settings.seed)
        return model

    def _after_step(self, step: OptimizerStep, state: Callable[[], TrainingState]) -> bool:
        settings, out = self._settings, self._settings.out
        self._losses.append(step.loss)
        if self._writes:
            output.append_loss(out, step.step, step.steps, step.loss, step.learning_rate, step.tokens)
        a_epoch = step.steps // self._recipe.epochs
        epoch_ends = step.step % a_epoch == 0
        every = settings.evaluate_every
        if epoch_ends or (every and step.step % every == 0):
            self._evaluate(step.step)
        self._live.step(step)
        self._interruption.look()
        # One rank may hear of it before another, and all must end after the same step.
        (stopped,) = self._group.most(int(self._interruption.wanted))
        self._stopped = bool(stopped)
        stop = self._stopped or self._no_better()
        due = step.step % settings.checkpoint_every == 0 if settings.checkpoint_every else epoch_ends
        if self._writes and ((due and step.step < step.steps) or self._stopped):
            save_checkpoint(out, self._identity, Checkpoint(state(), tuple(self._held_out), self._best))
        return stop

    def _evaluate(self, step: int) -> None:
        recipe, device = self._recipe, self._plan.device
        store = self._plan.held_out.store
        loss = held_out_loss(self._model, store, recipe.micro_batch_tokens, device, recipe.autocast)
        best = min((evaluation.loss for evaluation in self._held_out), default=float("inf"))
        if self._settings.patience and loss < best:
            parameters = self._trained_parameters()
            self._best = tuple(parameter.detach().cpu().clone() for parameter in parameters)
        evaluation = HeldOut(step, loss)
        self._held_out.append(evaluation)
        if self._writes:
            output.append_held_out(self._settings.out, evaluation)
        self._interruption.look()
        self._live.evaluated(loss)

    def _no_better(self) -> bool:
        """Whether the last `patience` evaluations were all no better than one before them."""
        patience, losses = self._settings.patience, [evaluation.loss for evaluation in self._held_out]
        return bool(patience) and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])

    def _keep_best(self) -> int | None:
        """Put the weights of the lowest held-out loss back; returns their step, None where they are the last ones."""
        if self._best is None:
            return None
        best = min(self._held_out, key=lambda evaluation: evaluation.loss)
        if best.step == self._held_out[-1].step:
            return None
        with torch.no_grad():
            for parameter, value in zip(self._trained_parameters(), self._best, strict=True):
                parameter.copy_(value)
        return best.step

    def _trained_parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self._model.parameters() if parameter.requires_grad]

    def ask(self, conversations: Sequence[Sequence[Message]], seed: int, *, base: bool = False) -> list[str]:
        """Answers of the model as it is now; `base`: without its LoRA."""
        if base and not self._settings.full:
            with self._model.disable_adapter():
                return self._answers(conversations, seed)
        return self._answers(conversations, seed)

    def _answer(self, pairs: Sequence[Pair], *, base: bool) -> list[AnsweredPrompt]:
        name = "before" if base else "after"

        def on_answered(done: int) -> None:
            self._interruption.look()
            self._live.write(f"answering held-out prompts, {name}: {done}")

        def answer() -> list[AnsweredPrompt]:
            return answer_prompts(self._answers, pairs, self._settings.system, self._settings.seed, on_answered)

        if base and not self._settings.full:
            with self._model.disable_adapter():
                return answer()
        return answer()

    def _write_weights(self, folder: Path) -> None:
        settings, plan = self._settings, self._plan
        if settings.full:
            write_model(self._model, settings.model, folder)
        else:
            self._model.peft_config[ADAPTER_NAME].base_model_name_or_path = settings.base_name
            write_lora_into(self._model, folder)
        save_template(plan.template, folder)
        if settings.merge and not settings.full:  # what --full trains is whole already
            merge_adapter_in_place(settings.model, folder)
        delete_checkpoint(folder)


class NoticeWatcher(NullWatcher):
    """Shows the loop's notices; what it tells of steps comes by `after_step`."""

    def __init__(self, live: LiveLine) -> None:
        self._live = live

    def on_notice(self, sentence: str) -> None:
        """Show it."""
        self._live.keep(sentence)


def merge_adapter_in_place(base: Path, folder: Path) -> None:
    """Put the merged model's files into the finetune's folder, in place of its adapter's."""
    merged = folder / ".merged"
    shutil.rmtree(merged, ignore_errors=True)  # of a merge that was killed, after which --resume came here
    merge_adapter(base, folder, merged)
    for path in merged.iterdir():
        path.replace(folder / path.name)
    merged.rmdir()
    for name in ADAPTER_FILES:
        (folder / name).unlink()


def _halves(precision: WeightPrecision) -> Precision:
    """The precision of weights that are divided among devices; `FinetuneSettings.check` refuses the quantized ones."""
    return "bfloat16" if precision == "bfloat16" else "float32"
