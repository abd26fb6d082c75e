"""What a finetune will take, before it is begun: memory reckoned from the architecture, minutes measured on a part of it.

The minutes are measured by training, for three steps, a model of random weights with the same layers (all of them where it
is small, else the first and the first two), on this very device and on the first samples themselves.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from wmkml.finetuning.preparation.architecture import Architecture, shortened
from wmkml.finetuning.voices.merging import FLOAT32_UP_TO
from wmkml.models.stored_format import BYTES_A_WEIGHT
from wmkml.system.memory import available_gib, memory_gib, peak_memory, used_memory
from wmkml.training.base_model import WeightPrecision
from wmkml.training.loop import NullWatcher, OptimizerStep, Recipe, train
from wmkml.training.lora import tied_embeddings_accepted
from wmkml.training.samples import TokenizedSample

GIB = 2**30

WHOLE_UP_TO = 50_000_000
"""Parameters up to which the minutes are measured on all layers."""

TIMED_STEPS = 3

TIMED_TOKENS_ON_CPU = 256
"""Tokens that are timed on a CPU where the model is too large for all layers."""

QUANTIZED_TIME = {"nf4": 1.3, "int8": 1.6}
"""How much longer a step takes with quantized weights, which are unpacked for every product; by the literature."""

CUDA_CONTEXT = 0.6 * GIB
"""GPU memory of a process before it holds a model."""

LIBRARIES = 0.12 * GIB
"""Memory of what a process imports only when it trains and answers."""

LOADING_SHARE = 0.15
"""Of the weights, what a CPU holds beside them at the worst moment: the file's pages, torch's own caches."""


@dataclass(frozen=True)
class Variant:
    """What the memory of a finetune depends on, beside its architecture.

    Attributes:
        tokens: in one forward pass.
        trained: weights that are trained.
        small_optimizer: 8-bit moments (bitsandbytes).
        merged: the base is loaded a second time, on the CPU, to merge the LoRA into it.
    """

    precision: WeightPrecision
    full: bool
    tokens: int
    trained: int
    on_gpu: bool
    small_optimizer: bool
    merged: bool = False


@dataclass(frozen=True)
class Memory:
    """Predicted memory of the device at its peak, in bytes; `merging`: what merging takes when training is over."""

    process: float
    weights: float
    training: float
    activations: float
    merging: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.process + self.weights + self.training + max(self.activations, self.merging)


@dataclass(frozen=True)
class Prediction:
    """What is expected of a finetune.

    Attributes:
        available: bytes of memory that may be used.
        seconds: of training with its evaluations; None: it would not fit, or could not be measured.
        would_fit: changes of arguments with which it would, each with its memory in bytes.
    """

    memory: Memory
    available: int
    seconds: float | None
    steps: int
    would_fit: tuple[tuple[str, float], ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the memory is there."""
        return self.memory.total <= self.available


def memory_of(architecture: Architecture, variant: Variant) -> Memory:
    """The memory of a finetune at its peak."""
    linear = sum(layer.inputs * layer.outputs for layer in architecture.linear)
    other = architecture.parameters - linear
    # Off a GPU every weight is float32, also where products are computed in bfloat16 (`base_model.load_base`).
    of_linear, beside = BYTES_A_WEIGHT["float32"], BYTES_A_WEIGHT["float32"]
    if variant.on_gpu:  # there what is no linear layer stays in bfloat16
        of_linear = BYTES_A_WEIGHT[variant.precision]
        beside = of_linear if variant.precision in ("float32", "bfloat16") else BYTES_A_WEIGHT["bfloat16"]
    weights = linear * of_linear + other * beside
    # A gradient in float32 and the optimizer's two moments; a LoRA's own weights are float32 beside the model's.
    a_weight = (0 if variant.full else 4) + 4 + (2 if variant.small_optimizer else 8)
    computed = 2 if variant.on_gpu or variant.precision != "float32" else 4
    process = CUDA_CONTEXT if variant.on_gpu else used_memory() + LIBRARIES
    return Memory(
        process=process,
        weights=weights * (1.0 if variant.on_gpu else 1.0 + LOADING_SHARE),
        training=variant.trained * a_weight,
        activations=variant.tokens * activation_bytes(architecture, computed, full=variant.full),
        # In float32 or, from FLOAT32_UP_TO parameters on, mostly in 16 bits (`voices.merging`).
        merging=architecture.parameters
        * (4.0 if architecture.parameters <= FLOAT32_UP_TO else 2.0)
        * (1.0 + LOADING_SHARE)
        if variant.merged and not variant.on_gpu
        else 0.0,
    )


def divided(memory: Memory, architecture: Architecture, devices: int) -> Memory:
    """The memory of each of several devices that hold a part of the weights each, and gather a layer at a time.

    Two layers are there whole: the one that computes, and the next one, which is gathered meanwhile.
    """
    whole_layers = memory.weights * min(1.0, 2 / architecture.layers)
    return replace(memory, weights=memory.weights / devices + whole_layers * (1 - 1 / devices))


def activation_bytes(architecture: Architecture, size: int, *, full: bool) -> float:
    """Bytes that one token leaves for the backward pass: in every block, and its logits with their gradient.

    Args:
        size: bytes of a computed number.
    """
    outputs = sum(layer.outputs for layer in architecture.linear)
    # The largest of a block's vectors occurs once more, behind its activation; norms, residuals and LoRA keep some eight of
    # hidden size.  Where all weights are trained, the inputs of the layers are kept too.
    widest = architecture.layers * max((layer.outputs for layer in architecture.linear), default=0)
    inputs = sum(layer.inputs for layer in architecture.linear) if full else 0
    vectors = outputs + widest + inputs + architecture.layers * 8 * architecture.hidden
    return vectors * size + architecture.vocabulary * 2 * size


def available_on(device: torch.device) -> int:
    """Bytes that may be used: the GPU's free memory, or of a CPU what is free for this process and what it has."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    available = available_gib()
    return int((memory_gib() if available is None else available) * 2**30) + used_memory()


def peak_on(device: torch.device) -> int:
    """The most bytes that this process has used of the device's memory so far."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device) + CUDA_CONTEXT)
    return peak_memory()


def variants_that_fit(architecture: Architecture, variant: Variant, available: int, lora: int, longest: int) -> Any:
    """Changes with which it would fit, most harmless first: (arguments, bytes) pairs, each with all before it.

    Args:
        lora: weights of a LoRA in place of all of them.
        longest: tokens of the longest sample.
    """
    changes: list[tuple[str, Variant]] = []
    now, words = variant, ""

    def change(argument: str, changed: Variant) -> None:
        nonlocal now, words
        now, words = changed, f"{words} {argument}".strip()
        changes.append((words, now))

    if now.tokens > longest:
        change(f"--micro-batch-tokens {longest}", replace(now, tokens=longest))
    if now.full:
        change(
            "without --full", replace(now, full=False, trained=lora, precision="bfloat16" if now.on_gpu else "float32")
        )
    if now.on_gpu and now.precision in ("float32", "bfloat16"):
        change("--quantize nf4", replace(now, precision="nf4"))
    if longest > 128:
        change("--max-length 128", replace(now, tokens=min(now.tokens, 128)))
    sized = [(words, memory_of(architecture, changed).total) for words, changed in changes]
    return tuple((words, total) for words, total in sized if total <= available)


def seconds_a_step(
    architecture: Architecture,
    precision: WeightPrecision,
    device: torch.device,
    targets: Sequence[str],
    rank: int,
    samples: Sequence[Sequence[TokenizedSample]],
    recipe: Recipe,
) -> float:
    """Seconds of one optimizer step, measured on random weights.

    Args:
        targets: the LoRA's layers; empty: all weights are trained.
        samples: of the first steps.
    """
    whole = architecture.parameters <= WHOLE_UP_TO
    steps = [list(step) for step in samples[:TIMED_STEPS]]
    share = 1.0
    if not whole and device.type == "cpu":
        # One sample, cut short: a large model takes minutes for more, and its time grows with the tokens.
        tokens = sum(len(sample.ids) for sample in steps[0])
        first = steps[0][0]
        cut = TokenizedSample(first.ids[:TIMED_TOKENS_ON_CPU], first.ids[:TIMED_TOKENS_ON_CPU])
        steps, share = [[cut]], tokens / len(cut.ids)

    def timed(layers: int) -> float:
        return _time_layers(shortened(architecture.config, layers), precision, device, targets, rank, steps, recipe)

    if whole:
        seconds = timed(architecture.layers)
    else:
        first_layer, two_layers = timed(1), timed(2)
        seconds = first_layer + max(two_layers - first_layer, 0.0) * (architecture.layers - 1)
    return seconds * share * QUANTIZED_TIME.get(precision, 1.0)


def _time_layers(
    config: Any,
    precision: WeightPrecision,
    device: torch.device,
    targets: Sequence[str],
    rank: int,
    steps: list[list[TokenizedSample]],
    recipe: Recipe,
) -> float:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    on_gpu = device.type == "cuda"
    dtype = torch.float32 if precision == "float32" or not on_gpu else torch.bfloat16
    random = torch.get_rng_state()
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.requires_grad_(not targets)
    if targets:
        with tied_embeddings_accepted():
            model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules=sorted(targets)))
    times: list[float] = []

    class Clock(NullWatcher):
        def on_step(self, step: OptimizerStep) -> None:
            times.append(time.monotonic())

    width = max(map(len, steps))
    # The first step warms up; its samples are those of the others, so that memory and kernels are ready.
    order = [sample for step in [steps[0], *steps] for sample in (step * width)[:width]]
    timed = replace(recipe, learning_rate=0.0, epochs=1, samples_per_step=width, packed=False)
    try:
        train(model, _InOrder(order, timed.seed), timed, Clock())
    finally:
        del model
        torch.set_rng_state(random)
        if on_gpu:
            torch.cuda.empty_cache()
    return (times[-1] - times[0]) / (len(times) - 1)


class _InOrder(Sequence[TokenizedSample]):
    """Samples that an epoch shuffled with `seed` meets in the order they are given in."""

    def __init__(self, samples: Sequence[TokenizedSample], seed: int) -> None:
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed)).tolist()
        self._samples = [sample for _, sample in sorted(zip(order, samples, strict=True), key=lambda pair: pair[0])]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        return self._samples[index]


def model_bytes(folder: Path) -> int:
    """The size of a model's weights on the disk, in bytes."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
