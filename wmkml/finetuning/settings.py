"""What a finetune is told, and what follows where it is told nothing.

The defaults hold from the understudy's four million weights to seven billion, and from eight samples to a million: a
narrow model needs larger steps than a wide one, and a small corpus more passes than a large one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wmkml.corpora import ReadingOptions
from wmkml.models.devices import AUTO
from wmkml.training.samples import LossOn

Quantize = Literal["none", "nf4", "int8"]
Packing = Literal["auto", "on", "off"]
Parallel = Literal["ddp", "fsdp"]

RATE_TIMES_WIDTH = 0.5
"""LoRA's learning rate times the model's hidden size: 1.2e-4 at 4096, as is common for 7B; 2e-3 at 256."""

FULL_RATE_SHARE = 0.1
"""Of that rate, where all weights are trained: 1.2e-5 at 4096."""

SAMPLES_WANTED = 600
"""Samples that are read even of the smallest corpus, some of them again and again."""

EPOCHS_AT_LEAST, EPOCHS_AT_MOST = 3, 20


class FinetuneRefusedError(ValueError):
    """The finetune cannot be done as it was asked for.  The message says which argument and what to do."""


@dataclass(frozen=True)
class LoraSettings:
    """A LoRA's shape; `targets` empty: found for the architecture."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.2
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinetuneSettings:
    """A finetune as it was asked for.

    Attributes:
        model: the base model's folder, and `model_name` as it was given.
        data: sources of the corpora.
        epochs, learning_rate: None: chosen by `chosen_epochs` and `chosen_rate`.
        full: train all weights, and no LoRA.
        merge: write a whole model beside nothing: the LoRA merged into the base.
        batch_size: samples a step, times `accumulation`.
        accumulation: batches whose gradients make a step.
        micro_batch_tokens: most tokens in one forward pass; 0: 1024 on a CPU, 4096 on a GPU.
        evaluate_every: steps between two evaluations beside those after each epoch; 0: none.
        patience: evaluations without a better held-out loss after which training ends; 0: never.
        checkpoint_every: steps between two checkpoints; 0: after each epoch.
        compared: held-out prompts that are answered before and after.
        devices: GPUs that train together, or processes on a CPU; 0: all GPUs.
        parallel: what each device holds of the base: all of it (`ddp`), or a part (`fsdp`).
        device: as `--device` names it; with several of them, only what kind.
        card_gib: memory in GiB of an NVIDIA GPU that is reckoned with and not there, in a dry run; None: what is here.
    """

    model: Path
    model_name: str
    data: tuple[str, ...]
    out: Path
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    epochs: int | None = None
    learning_rate: float | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)
    full: bool = False
    merge: bool = False
    quantize: Quantize | None = None
    template: str = "auto"
    system: str = ""
    loss_on: LossOn = "answer"
    max_length: int = 512
    batch_size: int = 4
    accumulation: int = 1
    micro_batch_tokens: int = 0
    packing: Packing = "auto"
    evaluate_every: int = 0
    patience: int = 0
    checkpoint_every: int = 0
    compared: int = 5
    seed: int = 0
    devices: int = 1
    parallel: Parallel = "ddp"
    device: str = AUTO
    card_gib: float | None = None

    @property
    def base_name(self) -> str:
        """What other programs know the base by: the hub's id it was fetched by, else its folder."""
        fetched = "/" in self.model_name and self.model.name == self.model_name.replace("/", "--")
        return self.model_name if fetched else str(self.model)

    @property
    def samples_per_step(self) -> int:
        """Samples of one optimizer step."""
        return self.batch_size * self.accumulation

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            FinetuneRefusedError: an argument is out of its bounds, or two of them contradict each other.
        """
        for name, value, least in (
            ("--epochs", self.epochs, 1),
            ("--lora-rank", self.lora.rank, 1),
            ("--lora-alpha", self.lora.alpha, 1),
            ("--max-length", self.max_length, 2),
            ("--batch-size", self.batch_size, 1),
            ("--accumulation", self.accumulation, 1),
            ("--micro-batch-tokens", self.micro_batch_tokens, 0),
            ("--evaluate-every", self.evaluate_every, 0),
            ("--patience", self.patience, 0),
            ("--checkpoint-every", self.checkpoint_every, 0),
            ("--compared", self.compared, 0),
            ("--devices", self.devices, 0),
        ):
            if value is not None and value < least:
                raise FinetuneRefusedError(f"{name}: {value} is not allowed; allowed: at least {least}.")
        if not 0.0 <= self.lora.dropout < 1.0:
            raise FinetuneRefusedError(f"--lora-dropout: {self.lora.dropout:g} is not allowed; allowed: 0 to below 1.")
        if self.learning_rate is not None and not 0.0 < self.learning_rate <= 1.0:
            raise FinetuneRefusedError(
                f"--learning-rate: {self.learning_rate:g} is not allowed; allowed: above 0, at most 1."
            )
        if self.card_gib is not None and not 0.0 < self.card_gib < math.inf:
            raise FinetuneRefusedError(f"--memory: {self.card_gib:g} is not allowed; allowed: above 0, in GiB.")
        if self.card_gib is not None and self.device not in (AUTO, "cuda"):
            raise FinetuneRefusedError(
                f"--memory is of an NVIDIA GPU, and --device {self.device} is none. Leave one out."
            )
        if self.full and self.quantize in ("nf4", "int8"):
            raise FinetuneRefusedError(
                f"--full trains all weights, and weights in {self.quantize} cannot be trained. Leave one of them out."
            )
        if self.parallel == "fsdp" and self.full:
            raise FinetuneRefusedError(
                "--parallel fsdp divides weights that are not trained, and --full trains all. Leave one of them out."
            )
        if self.parallel == "fsdp" and self.quantize in ("nf4", "int8"):
            raise FinetuneRefusedError(
                f"--parallel fsdp divides weights of 16 bits; weights in {self.quantize} are whole on every device (ddp)."
            )
        if self.devices != 1 and self.device not in (AUTO, "cpu", "cuda"):
            raise FinetuneRefusedError(f"--device {self.device} names a single device, and --devices wants several.")
        if self.full and self.lora.targets:
            raise FinetuneRefusedError("--full trains all weights; there is no LoRA for --lora-targets to go into.")

    def identity(self) -> dict[str, Any]:
        """All that losses and answers depend on, for a checkpoint to be compared with; not where the results go, nor on how
        many devices."""
        return {
            "model": str(self.model),
            "data": list(self.data),
            "reading": repr(self.reading),
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "lora": repr(self.lora),
            "full": self.full,
            "quantize": self.quantize,
            "template": self.template,
            "system": self.system,
            "loss_on": self.loss_on,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
            "accumulation": self.accumulation,
            "packing": self.packing,
            "evaluate_every": self.evaluate_every,
            "patience": self.patience,
            "compared": self.compared,  # the answers of before are those of the same prompts
            "seed": self.seed,
        }


def chosen_rate(hidden: int, *, full: bool) -> float:
    """The learning rate for a model of this hidden size, rounded to two digits."""
    rate = RATE_TIMES_WIDTH / hidden * (FULL_RATE_SHARE if full else 1.0)
    return float(f"{rate:.1e}")


def chosen_epochs(samples: int) -> int:
    """Passes over the samples: enough to read SAMPLES_WANTED, within bounds."""
    return max(EPOCHS_AT_LEAST, min(EPOCHS_AT_MOST, math.ceil(SAMPLES_WANTED / samples)))
