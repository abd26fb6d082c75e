"""Ways to train one round, for `round.py`: ours, the original's, TRL's SFTTrainer, and Unsloth.

Each runs in a process of its own, since Unsloth changes transformers and TRL, and since nobody's caches or threads should
be another's.  All of them train the same samples, with the same tokens as targets, in the same precision, from an adapter
of the same form, and write what they trained.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import PrinterCallback

from benchmarks.gpu_steps.model import GradientWatcher
from benchmarks.gpu_steps.training import matrix_flops_a_second
from benchmarks.original import train_as_the_original
from wmkml.launcher.memory.model import shape_of
from wmkml.training.base_model import Precision, load_base
from wmkml.training.batching import quick_limit
from wmkml.training.kernels.choice import with_fast_kernels
from wmkml.training.kernels.document_attention import has_flash_attention
from wmkml.training.loop import Recipe
from wmkml.training.lora import LoraShape, lora_parameters, reset_lora
from wmkml.training.rounds import RoundDefaults, RoundTrainer, TrainingRound
from wmkml.training.samples import tokenize_pairs

RATE, EPOCHS, BATCH, LENGTH = 0.0015, 2, 256, 512
SHAPE = LoraShape(16, 32, 0.05, ("q_proj", "v_proj"))
MICRO_BATCH_TOKENS = 4096


class WayNotRunError(RuntimeError):
    """A way cannot run here; the text says what is missing."""


@dataclass(frozen=True)
class RoundSetting:
    """What every way trains: a model's folder and (prompt, answer) pairs, in a precision, with so many CPU threads."""

    model: Path
    precision: Precision
    pairs: tuple[tuple[str, str], ...]
    threads: int


@dataclass(frozen=True)
class RoundFigures:
    """A round that was trained.

    Attributes:
        seconds: from the samples as text to the adapter on disk.
        tokens: that went through the model in all epochs, padding not included.
        losses: of every optimizer step, in nats a token.
        gradient_norms: of every optimizer step, before gradients are clipped.
        adapter_change: the norm of the change of the adapter's weights, as a share of their norm before.
    """

    seconds: float
    tokens: int
    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    adapter_change: float


Round = Callable[[int, Path], RoundFigures]
"""Trains a round with this number as seed and writes its adapter below this folder."""


def refusal(figures: RoundFigures) -> str | None:
    """Why a round's speed counts for nothing: it trained nothing.  None: it counts."""
    # Not by their least: a NaN would hide in it.
    learns = bool(figures.gradient_norms) and all(norm > 0 for norm in figures.gradient_norms)
    if not (learns and all(map(math.isfinite, figures.losses))):
        return "its gradient is zero or its loss is not a number"
    return None if figures.adapter_change > 0 else "its adapter is as before"


def serve(way: str, setting: RoundSetting, pipe: Connection) -> None:
    """In a process of its own: prepare a way, then train a round for each number that arrives, until None does.

    Sends "ready", or why it cannot run; then for each round its figures, and for "rate" the device's rate in FLOPs a
    second on products of the model's shapes.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(setting.threads)
    try:
        train_round = WAYS[way](setting)
        pipe.send("ready")
        with tempfile.TemporaryDirectory() as folder:
            while (asked := pipe.recv()) is not None:
                if asked == "rate":
                    trainer = _trainer(setting)
                    pipe.send(matrix_flops_a_second(shape_of("", setting.model), trainer, 2048))
                else:
                    pipe.send(asdict(train_round(asked, Path(folder))))
    # Whatever a peer raises here is a result: it did not run, for this reason.
    except Exception as error:  # noqa: BLE001
        pipe.send(str(error) if isinstance(error, WayNotRunError) else f"{type(error).__name__}: {error}"[:300])


def our_loop(setting: RoundSetting) -> Round:
    """Our loop: one model, wrapped once before all rounds, as the worker trains it."""
    trainer = _trainer(setting)
    trainer.warm_up()
    watcher = GradientWatcher(trainer.model)

    def train_round(number: int, folder: Path) -> RoundFigures:
        before = _start(trainer.model, number)
        steps = len(watcher.norms)
        began = time.perf_counter()
        job = TrainingRound(setting.pairs, RATE, number, None, folder / f"iteration-{number}")
        trained = trainer.train(job, watcher)
        seconds = time.perf_counter() - began
        result = trained.result
        norms = tuple(watcher.norms[steps:])
        return RoundFigures(seconds, result.tokens, result.losses, norms, _change(trainer.model, before))

    return train_round


def original(setting: RoundSetting) -> Round:
    """The original's recipe: a new `transformers.Trainer` for the round, every sample padded to 512 tokens."""
    trainer = _trainer(setting)
    tokens = EPOCHS * sum(len(sample["input_ids"]) for sample in _samples(trainer, setting))

    def train_round(number: int, folder: Path) -> RoundFigures:
        before, norms = _start(trainer.model, number), list[float]()
        began = time.perf_counter()
        losses = train_as_the_original(
            trainer.model,
            trainer.base.tokenizer,
            setting.pairs,
            learning_rate=RATE,
            epochs=EPOCHS,
            batch_size=BATCH,
            bf16=trainer.base.precision == "bfloat16",
            seed=number,
            norms=norms,
        )
        trainer.model.save_pretrained(str(folder / f"iteration-{number}"))
        seconds = time.perf_counter() - began
        return RoundFigures(seconds, tokens, tuple(losses), tuple(norms), _change(trainer.model, before))

    return train_round


def trl(setting: RoundSetting) -> Round:
    """TRL's SFTTrainer, a new one for each round: without padding where FlashAttention is, else padded to the longest.

    It is given the samples tokenized, an unwrapped model's work done, and no gradient checkpointing: all in its favour.
    """
    _need("trl", "datasets")
    trainer = _trainer(setting, fast=False)
    return _sft_rounds(setting, trainer.model, trainer.base.tokenizer, _samples(trainer, setting))


def unsloth(setting: RoundSetting) -> Round:
    """Unsloth's model in the SFTTrainer of TRL, as its documentation shows, with our LoRA."""
    if not torch.cuda.is_available():
        raise WayNotRunError("Unsloth needs an NVIDIA GPU")
    _need("unsloth", "trl", "datasets")
    # Before TRL and transformers' models are used: it replaces parts of them.
    fast: Any = importlib.import_module("unsloth").FastLanguageModel
    model, tokenizer = fast.from_pretrained(
        str(setting.model), max_seq_length=LENGTH, dtype=torch.bfloat16, load_in_4bit=False
    )
    model = fast.get_peft_model(
        model,
        r=SHAPE.r,
        lora_alpha=SHAPE.alpha,
        lora_dropout=SHAPE.dropout,
        target_modules=list(SHAPE.modules),
        use_gradient_checkpointing=False,
    )
    pairs = tokenize_pairs(tokenizer, setting.pairs, LENGTH, "text")
    samples = [{"input_ids": list(sample.ids), "labels": list(sample.labels)} for sample in pairs]
    return _sft_rounds(setting, model, tokenizer, samples)


def _sft_rounds(setting: RoundSetting, model: Any, tokenizer: Any, samples: list[dict[str, list[int]]]) -> Round:
    peer: Any = importlib.import_module("trl")
    datasets: Any = importlib.import_module("datasets")
    arrow: Any = importlib.import_module("pyarrow")
    # With a fingerprint of its own: datasets would hash the samples, which fails beside newer versions of pyarrow.
    table = datasets.table.InMemoryTable(arrow.Table.from_pylist(samples))
    dataset = datasets.Dataset(table, fingerprint="round")
    device, longest = model.device, max(len(sample["input_ids"]) for sample in samples)
    on_gpu, flash = device.type == "cuda", importlib.util.find_spec("flash_attn") is not None
    if on_gpu and flash and has_flash_attention(device):
        model.get_base_model().set_attn_implementation("flash_attention_2")
    # A GPU does not hold all samples at once, as a CPU does here.
    at_once = max(1, MICRO_BATCH_TOKENS // longest) if on_gpu else BATCH
    tokens = EPOCHS * sum(len(sample["input_ids"]) for sample in samples)

    def train_round(number: int, folder: Path) -> RoundFigures:
        before = _start(model, number)
        began = time.perf_counter()
        arguments = peer.SFTConfig(
            output_dir=str(folder / "sft"),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=math.ceil(BATCH / at_once),
            learning_rate=RATE,
            lr_scheduler_type="linear",
            warmup_steps=0,
            weight_decay=0.0,
            max_grad_norm=1.0,
            bf16=setting.precision == "bfloat16",
            seed=number,
            use_cpu=not on_gpu,
            gradient_checkpointing=False,
            padding_free=on_gpu and flash,
            max_length=LENGTH,
            dataset_kwargs={"skip_prepare_dataset": True},
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = peer.SFTTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer)
        # Standard output is for the table.
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        model.save_pretrained(str(folder / f"iteration-{number}"))
        seconds = time.perf_counter() - began
        steps = [entry for entry in trainer.state.log_history if "loss" in entry]
        losses, norms = (tuple(float(entry[name]) for entry in steps) for name in ("loss", "grad_norm"))
        return RoundFigures(seconds, tokens, losses, norms, _change(model, before))

    return train_round


WAYS: dict[str, Callable[[RoundSetting], Round]] = {
    "original": original,
    "ours": our_loop,
    "trl": trl,
    "unsloth": unsloth,
}


def _need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise WayNotRunError(f"{package} is not installed (benchmarks/requirements.txt)")


def _trainer(setting: RoundSetting, fast: bool = True) -> RoundTrainer:
    base = load_base(setting.model, setting.precision)
    recipe = Recipe(0.0, EPOCHS, BATCH, quick_limit(MICRO_BATCH_TOKENS, base.device), "adamw")
    return RoundTrainer(with_fast_kernels(base) if fast else base, SHAPE, RoundDefaults(recipe, LENGTH, "text"))


def _samples(trainer: RoundTrainer, setting: RoundSetting) -> list[dict[str, list[int]]]:
    samples = tokenize_pairs(trainer.base.tokenizer, setting.pairs, LENGTH, "text")
    return [{"input_ids": list(sample.ids), "labels": list(sample.labels)} for sample in samples]


def _start(model: Any, seed: int) -> dict[str, torch.Tensor]:
    """Reset the LoRA as every round of ours does, and return a copy of it."""
    reset_lora(model, seed)
    return {name: parameter.detach().clone() for name, parameter in lora_parameters(model).items()}


def _change(model: Any, before: dict[str, torch.Tensor]) -> float:
    changes = [float((parameter.detach() - before[name]).norm()) for name, parameter in lora_parameters(model).items()]
    return math.hypot(*changes) / math.hypot(*(float(tensor.norm()) for tensor in before.values()))
