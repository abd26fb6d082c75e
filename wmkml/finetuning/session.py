"""A finetune from its arguments to its folder: what happens, in order.

`prepare` reads everything and spends nothing; `Preparation.predict` says what it will take; `train_prepared` does it.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from wmkml.adapters.files import ADAPTER_FILES
from wmkml.corpora import Corpus, Pair, read
from wmkml.dialogue.chat_template import Message, load_tokenizer
from wmkml.dialogue.templates import DialogueTemplate, find_template, save_template, use_template
from wmkml.finetuning import estimate, output
from wmkml.finetuning.answering import ModelAnswers
from wmkml.finetuning.architecture import Architecture, architecture_of, unlearned_tokens
from wmkml.finetuning.checkpoint import (
    Checkpoint,
    HeldOut,
    delete_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from wmkml.finetuning.comparison import AnsweredPrompt, answer_prompts, diversity
from wmkml.finetuning.control import Interruption
from wmkml.finetuning.progress import LiveLine
from wmkml.finetuning.settings import FinetuneSettings, chosen_epochs, chosen_rate
from wmkml.finetuning.voices.merging import merge_adapter, write_model
from wmkml.finetuning.words import NothingToLearnError, SampleForm, SampleStore, TokenizedPart, words_of
from wmkml.models.devices import find_device
from wmkml.training.adapter_writer import write_lora_into
from wmkml.training.base_model import FrozenBase, Precision, WeightPrecision, choose_precision, load_base
from wmkml.training.batching import StepPlan, quick_limit
from wmkml.training.held_out import held_out_loss
from wmkml.training.kernels.choice import with_fast_kernels, with_packing
from wmkml.training.loop import NullWatcher, OptimizerStep, Recipe, TrainingResult, TrainingState, train
from wmkml.training.lora import LoraShape, reset_lora, wrap_with_lora
from wmkml.training.ranks.group import ALONE
from wmkml.training.ranks.process import RankSeat
from wmkml.training.ranks.sharding import load_sharded_base
from wmkml.training.samples import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EVALUATED_AT_MOST = 1000
"""Pairs of the evaluation part that the held-out loss is taken of."""

LOOKED_AT = 5000
"""Samples whose tokens are looked at for such that the base cannot tell apart."""

SMALL = 50_000_000
"""Parameters up to which a CPU computes in float32 even where bfloat16 is faster: there its rounding costs answers."""

GPU_TOKENS = 4096
"""Most tokens of a forward pass on a GPU, where nothing else is asked for."""

RESERVE = 0.92
"""The share of free memory that a finetune may be expected to take."""


@dataclass
class Preparation:
    """Everything that is known before the model is loaded.

    Attributes:
        device_name: of the device, in words.
        targets: layers of the LoRA; empty: all weights are trained.
        unlearned: tokens of the samples that the base cannot tell apart, for which the LoRA goes into the output layer too.
        words, held_out: the samples; `on_training`: the corpora have no evaluation part, so `held_out` is of the training
            part.
    """

    settings: FinetuneSettings
    architecture: Architecture
    tokenizer: PreTrainedTokenizerBase
    template: DialogueTemplate
    device: torch.device
    precision: WeightPrecision
    targets: tuple[str, ...]
    unlearned: tuple[int, ...]
    corpora: list[Corpus]
    words: TokenizedPart
    held_out: TokenizedPart
    on_training: bool
    recipe: Recipe

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        return -(-len(self.words.store) // self.recipe.samples_per_step) * self.recipe.epochs

    @property
    def held_out_name(self) -> str:
        """What the held-out loss is of."""
        return "loss on the training part (there is no evaluation part)" if self.on_training else "held-out loss"

    @property
    def device_name(self) -> str:
        """The device for people."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return "Apple GPU" if self.device.type == "mps" else "CPU"

    @property
    def trained(self) -> int:
        """Weights that are trained."""
        architecture = self.architecture
        if self.settings.full:
            return architecture.parameters
        return architecture.lora_parameters(self.targets, self.settings.lora.rank)

    def close(self) -> None:
        """Delete the samples' files."""
        self.words.store.close()
        self.held_out.store.close()

    def predict(self, devices: int = 1) -> estimate.Prediction:
        """Memory of each device and time, measured on a part of the model where it will fit.

        Args:
            devices: that train together; on a CPU processes, which share its memory.
        """
        architecture, recipe, store = self.architecture, self.recipe, self.words.store
        longest = store.longest()
        on_gpu = self.device.type == "cuda"
        step_tokens = -(-store.tokens // len(store)) * recipe.samples_per_step
        variant = estimate.Variant(
            precision=self.precision,
            full=self.settings.full,
            tokens=max(longest, min(recipe.micro_batch_tokens, 2 * step_tokens)),
            trained=self.trained,
            on_gpu=on_gpu,
            small_optimizer=on_gpu and _has_bitsandbytes(),
        )
        memory = estimate.memory_of(architecture, variant)
        if self.settings.parallel == "fsdp":
            memory = estimate.divided(memory, architecture, devices)
        available = int(estimate.available_on(self.device) * RESERVE / (1 if on_gpu else devices))
        lora = architecture.lora_parameters(architecture.targets(()), self.settings.lora.rank)
        if memory.total > available:
            fitting = estimate.variants_that_fit(architecture, variant, available, lora, longest)
            return estimate.Prediction(memory, available, None, self.steps, fitting)
        plan = StepPlan(len(store), recipe.samples_per_step, 1, recipe.seed)[: estimate.TIMED_STEPS]
        seconds = estimate.seconds_a_step(
            architecture,
            self.precision,
            self.device,
            self.targets,
            self.settings.lora.rank,
            [[store[index] for index in step] for step in plan],
            recipe,
        )
        # An evaluation reads each sample once, which is about a third of training on it.
        evaluations = (
            1 + recipe.epochs + (self.steps // self.settings.evaluate_every if self.settings.evaluate_every else 0)
        )
        read_tokens = evaluations * self.held_out.store.tokens / max(step_tokens, 1)
        # A step is shared; each device evaluates for itself.
        steps = self.steps / devices + read_tokens / 3
        return estimate.Prediction(memory, available, seconds * steps, self.steps)


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


OnReading = Callable[[int, Corpus], None]


def prepare(
    settings: FinetuneSettings, device: torch.device | None = None, on_reading: OnReading = lambda pairs, corpus: None
) -> Preparation:
    """Read model configuration, tokenizer, template and corpora; check that there is something to learn.

    Raises:
        FinetuneRefusedError, ModelUnknownError, TemplateError, CorpusError, BaseMissingError, NothingToLearnError: it
            cannot be done; the message says what to change.
    """
    settings.check()
    device = device or find_device(settings.device)
    architecture = architecture_of(settings.model)
    targets = () if settings.full else architecture.targets(settings.lora.targets)
    output_layer = architecture.output.short_name
    precision = _precision(settings, architecture, device)
    tokenizer = load_tokenizer(settings.model, needs_template=False)
    template = find_template(settings.template, tokenizer)
    use_template(tokenizer, template)
    corpora = [read(source, settings.reading) for source in settings.data]
    form = SampleForm(settings.loss_on, min(settings.max_length, architecture.window), settings.system)
    words = words_of(corpora, "train", tokenizer, form, keep=settings.compared, on_sample=on_reading)
    if not len(words.store):
        words.store.close()
        reason = words.left_out[0] if words.left_out else f"{', '.join(settings.data)}: no pair to train on was read"
        raise NothingToLearnError(f"There is nothing to learn. {reason}.")
    unlearned = [] if settings.full else unlearned_tokens(settings.model, _targets_of(words.store))
    if unlearned and not settings.lora.targets:
        targets = (*targets, output_layer)
    held_out = words_of(corpora, "evaluation", tokenizer, form, most=EVALUATED_AT_MOST, keep=settings.compared)
    on_training = not len(held_out.store)
    if on_training:
        held_out.store.close()
        held_out = words_of(corpora, "train", tokenizer, form, most=EVALUATED_AT_MOST, keep=settings.compared)
    samples = settings.samples_per_step
    recipe = Recipe(
        learning_rate=settings.learning_rate or chosen_rate(architecture.hidden, full=settings.full),
        epochs=settings.epochs or chosen_epochs(len(words.store)),
        samples_per_step=samples,
        micro_batch_tokens=settings.micro_batch_tokens or quick_limit(GPU_TOKENS, device),
        seed=settings.seed,
    )
    return Preparation(
        settings,
        architecture,
        tokenizer,
        template,
        device,
        precision,
        targets,
        tuple(unlearned),
        corpora,
        words,
        held_out,
        on_training,
        recipe,
    )


def begin_folder(preparation: Preparation, prediction: estimate.Prediction, *, resume: bool) -> None:
    """Create the run folder or, to go on, find the one with the checkpoint.

    Raises:
        FinetuneRefusedError: it cannot be created, or holds nothing to go on with.
    """
    if resume:
        load_checkpoint(preparation.settings.out, preparation.settings)
        return
    output.make_folder(
        preparation.settings,
        {
            "model": preparation.settings.model_name,
            "settings": preparation.settings.identity(),
            "template": preparation.template.name,
            "targets": list(preparation.targets),
            "samples": len(preparation.words.store),
            "steps": preparation.steps,
            "learning_rate": preparation.recipe.learning_rate,
            "epochs": preparation.recipe.epochs,
            "predicted_seconds": prediction.seconds,
            "predicted_bytes": prediction.memory.total,
        },
    )


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
            checkpoint = load_checkpoint(settings.out, settings)
            start, self._best = checkpoint.state, checkpoint.best
            self._held_out, self._losses = list(checkpoint.held_out), list(start.losses)
            if self._writes:
                output.cut_lines(settings.out, len(start.losses))
        else:
            self._evaluate(0)
        pairs = plan.held_out.shown
        if not settings.full or not resume:
            before = self._answer(pairs, base=True)
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
            if before:
                output.write_answers(folder, output.BEFORE, before, of_before)
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
        with warnings.catch_warnings():
            # PEFT warns of an output layer that is the embeddings' too; `merging.py` gives it weights of its own.
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
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
            save_checkpoint(out, settings, Checkpoint(state(), tuple(self._held_out), self._best))
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
    merge_adapter(base, folder, merged)
    for path in merged.iterdir():
        path.replace(folder / path.name)
    merged.rmdir()
    for name in ADAPTER_FILES:
        (folder / name).unlink()


def _targets_of(store: SampleStore) -> set[int]:
    """The tokens that are trained, of the first samples."""
    return {label for index in range(min(len(store), LOOKED_AT)) for label in store[index].labels if label != IGNORED}


def _precision(settings: FinetuneSettings, architecture: Architecture, device: torch.device) -> WeightPrecision:
    if settings.full or (device.type == "cpu" and architecture.parameters <= SMALL and not settings.quantize):
        return "float32"
    if settings.quantize in ("nf4", "int8"):
        return choose_precision(settings.model, settings.quantize, device)
    if settings.quantize == "none":
        return "bfloat16" if device.type == "cuda" else choose_precision(settings.model, "auto", device)
    return choose_precision(settings.model, "auto", device)


def _halves(precision: WeightPrecision) -> Precision:
    """The precision of weights that are divided among devices; `FinetuneSettings.check` refuses the quantized ones."""
    return "bfloat16" if precision == "bfloat16" else "float32"


def _has_bitsandbytes() -> bool:
    from transformers.utils import is_bitsandbytes_available

    return bool(is_bitsandbytes_available())
