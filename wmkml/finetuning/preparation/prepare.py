"""Reads everything that a finetune needs, and spends nothing: `prepare`, and `Preparation.predict` of what it will take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from wmkml.corpora import Corpus, RefusedLine, read
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.dialogue.templates import DialogueTemplate, bare_template, find_template, use_template
from wmkml.finetuning import output
from wmkml.finetuning.checkpoint import load_checkpoint
from wmkml.finetuning.preparation import estimate
from wmkml.finetuning.preparation.architecture import Architecture, architecture_of, unlearned_tokens
from wmkml.finetuning.preparation.words import NothingToLearnError, SampleForm, SampleStore, TokenizedPart, words_of
from wmkml.finetuning.settings import FinetuneRefusedError, FinetuneSettings, chosen_epochs, chosen_rate
from wmkml.models.devices import find_device
from wmkml.training.base_model import SPARE_GPU_BYTES, WeightPrecision, choose_precision
from wmkml.training.batching import StepPlan, quick_limit
from wmkml.training.loop import Recipe
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
        if self.settings.card_gib is not None:
            return f"GPU of {self.settings.card_gib:g} GiB"
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

    def identity(self) -> dict[str, Any]:
        """All that the losses depend on, for a checkpoint to be compared with: a file's words, too, and not its name alone."""

        def of_store(store: SampleStore) -> list[int | str]:
            return [len(store), store.tokens, store.digest()]

        on_gpu = self.device.type == "cuda"
        return {
            **self.settings.identity(),
            "corpus": of_store(self.words.store),
            "evaluation part": of_store(self.held_out.store),
            "kind of device": self.device.type,
            "optimizer": "adamw_8bit" if on_gpu and _has_bitsandbytes() else "adamw",
        }

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
        on_gpu, card = self.device.type == "cuda", self.settings.card_gib
        step_tokens = -(-store.tokens // len(store)) * recipe.samples_per_step
        variant = estimate.Variant(
            precision=self.precision,
            full=self.settings.full,
            tokens=max(longest, min(recipe.micro_batch_tokens, 2 * step_tokens)),
            trained=self.trained,
            on_gpu=on_gpu,
            # A machine with such a GPU has it: it is installed with whatever else a GPU needs.
            small_optimizer=on_gpu and (card is not None or _has_bitsandbytes()),
            merged=self.settings.merge and not self.settings.full,
        )
        memory = estimate.memory_of(architecture, variant)
        if self.settings.parallel == "fsdp":
            memory = estimate.divided(memory, architecture, devices)
        free = estimate.available_on(self.device) if card is None else int(card * estimate.GIB)
        available = int(free * RESERVE / (1 if on_gpu else devices))
        lora = architecture.lora_parameters(architecture.targets(()), self.settings.lora.rank)
        if memory.total > available:
            fitting = estimate.variants_that_fit(architecture, variant, available, lora, longest)
            return estimate.Prediction(memory, available, None, self.steps, fitting)
        if card is not None:  # minutes are measured, and there is nothing to measure on
            return estimate.Prediction(memory, available, None, self.steps)
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


OnReading = Callable[[int, Corpus], None]


def prepare(
    settings: FinetuneSettings, device: torch.device | None = None, on_reading: OnReading = lambda pairs, corpus: None
) -> Preparation:
    """Read model configuration, tokenizer, template and corpora; check that there is something to learn.

    Raises:
        FinetuneRefusedError, BaseMissingError: it cannot be done; the message says what to change.
    """
    settings.check()
    try:
        return _prepared(settings, device, on_reading)
    # Of templates, corpora and models that are not known; and a tokenizer that cannot be read.
    except ValueError as error:
        raise FinetuneRefusedError(str(error)) from error


def _prepared(settings: FinetuneSettings, device: torch.device | None, on_reading: OnReading) -> Preparation:
    device = device or (find_device(settings.device) if settings.card_gib is None else torch.device("cuda"))
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
        refusals = (entry for corpus in corpora for entry in corpus.entries() if isinstance(entry, RefusedLine))
        reason = words.left_out[0] if words.left_out else str(next(refusals, "")).removesuffix(".")
        reason = reason or f"{', '.join(settings.data)}: no pair to train on was read"
        lines = (
            " --format text reads the lines of a poem as a text."
            if any(corpus.may_be_verse for corpus in corpora)
            else ""
        )
        raise NothingToLearnError(f"There is nothing to learn. {reason}.{lines}")
    if words.passages == len(words.store):
        # Passages stand in no template, so what they teach is asked in none either.
        template = bare_template(tokenizer)
        use_template(tokenizer, template)
    unlearned = [] if settings.full else unlearned_tokens(settings.model, _targets_of(words.store))
    if unlearned and not settings.lora.targets:
        targets = (*targets, output_layer)
    held_out = words_of(
        corpora, "evaluation", tokenizer, form, most=EVALUATED_AT_MOST, keep=settings.compared, on_sample=on_reading
    )
    on_training = not len(held_out.store)
    if on_training:
        held_out.store.close()
        held_out = words_of(
            corpora, "train", tokenizer, form, most=EVALUATED_AT_MOST, keep=settings.compared, on_sample=on_reading
        )
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
        load_checkpoint(preparation.settings.out, preparation.identity())
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


def _targets_of(store: SampleStore) -> set[int]:
    """The tokens that are trained, of the first samples."""
    return {label for index in range(min(len(store), LOOKED_AT)) for label in store[index].labels if label != IGNORED}


def _precision(settings: FinetuneSettings, architecture: Architecture, device: torch.device) -> WeightPrecision:
    if settings.full or (device.type == "cpu" and architecture.parameters <= SMALL and not settings.quantize):
        return "float32"
    if settings.card_gib is not None and settings.quantize != "none":
        roomy = 2 * architecture.parameters + SPARE_GPU_BYTES <= settings.card_gib * estimate.GIB
        return settings.quantize or ("bfloat16" if roomy else "nf4")
    if settings.quantize in ("nf4", "int8"):
        return choose_precision(settings.model, settings.quantize, device)
    if settings.quantize == "none":
        return "bfloat16" if device.type == "cuda" else choose_precision(settings.model, "auto", device)
    return choose_precision(settings.model, "auto", device)


def _has_bitsandbytes() -> bool:
    from transformers.utils import is_bitsandbytes_available

    return bool(is_bitsandbytes_available())
