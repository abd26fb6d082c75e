"""Which GPUs serve and which train, and in which number formats and batches, so that every GPU can hold what is on it.

What is configured by name is kept; what is left to the plan (`auto`) becomes smaller where it does not fit: the served
weights fp8, the weights of training divided among several GPUs or nf4, the micro-batches of training a half, a quarter, …
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from wmkml.config import Settings
from wmkml.launcher.machine import Machine
from wmkml.launcher.memory.devices import (
    CUDA_CONTEXT_GIB,
    USABLE_SHARE,
    Device,
    EngineMemory,
    memory_of_gpu,
    memory_of_machine,
    worker_holdings,
)
from wmkml.launcher.memory.model import GIB, Shape
from wmkml.system.gpus import Gpu

QUICK_TOKENS = 1024
"""A micro-batch of at least so many tokens keeps a GPU busy; nf4 is taken before bfloat16 trains in smaller ones."""

TrainingPrecision = Literal["bfloat16", "float32", "nf4"]


@dataclass(frozen=True)
class Placement:
    """What is decided of the GPUs.

    Attributes:
        engine_gpus: of all copies of the model, in their order: `tensor_parallel_size` GPUs for each.
        settings: with number formats, micro-batches and the engine's share decided; without a GPU as configured.
        kv_cache_bytes: of the engine on a GPU that the worker shares; None: vLLM measures what is left of its share.
        worker_share: the most of a shared GPU's memory that the worker's tensors may take; None: it has its GPU alone.
        devices: every GPU, or the machine's memory where there is none.
    """

    engine_gpus: tuple[int, ...]
    worker_gpus: tuple[int, ...]
    settings: Settings
    kv_cache_bytes: int | None
    worker_share: float | None
    devices: tuple[Device, ...]


def place(settings: Settings, machine: Machine, shape: Shape) -> Placement:
    """Decide everything that depends on the GPUs."""
    if settings.inference.engine == "remote" and machine.gpus:
        return _place_training_alone(settings, machine.gpus, shape)
    if not machine.gpus:
        device = memory_of_machine(settings, shape, machine.memory_gib)
        return Placement((), (), settings, None, None, (device,))
    serving, training = _share_out(settings, machine.gpus, shape)
    shared = training[0] in serving
    settings = decide_engine(settings, shape, serving, shared=shared)
    share = settings.inference.gpu_memory_utilization
    left_gib = _smallest_gib(training) * (USABLE_SHARE - (share if shared else 0.0))
    settings = _decide_training(settings, shape, left_gib, len(training))
    devices = tuple(
        memory_of_gpu(gpu, settings, shape, serves=gpu in serving, trains=gpu in training) for gpu in machine.gpus
    )
    cache_bytes, worker_share = None, None
    if shared:
        # vLLM would count the worker's memory as its own, so it is not left to measure.
        if settings.inference.engine == "vllm":
            cache_bytes = int(EngineMemory(settings, shape).cache_gib(share * training[0].memory_gib) * GIB)
        worker_share = max(0.0, left_gib - CUDA_CONTEXT_GIB) / training[0].memory_gib
    return Placement(_indices(serving), _indices(training), settings, cache_bytes, worker_share, devices)


def _place_training_alone(settings: Settings, gpus: tuple[Gpu, ...], shape: Shape) -> Placement:
    """Where the engine is elsewhere: the last GPUs train."""
    training = gpus[-_training_count(settings, shape, gpus, len(gpus), idle=0) :]
    settings = _decide_training(settings, shape, _smallest_gib(training) * USABLE_SHARE, len(training))
    devices = tuple(memory_of_gpu(gpu, settings, shape, serves=False, trains=gpu in training) for gpu in gpus)
    return Placement((), _indices(training), settings, None, None, devices)


def _share_out(settings: Settings, gpus: tuple[Gpu, ...], shape: Shape) -> tuple[tuple[Gpu, ...], tuple[Gpu, ...]]:
    """The GPUs that serve, and those that train: the last ones, of which one also serves if no copy of the model fits
    without it.

    One copy of the model is always served.  As many copies serve as there are `tensor_parallel_size` GPUs for; what is
    left over by the division serves nobody.
    """
    # The transformers engine uses one.
    together = settings.inference.tensor_parallel_size if settings.inference.engine == "vllm" else 1
    idle = (len(gpus) - 1) % together
    count = _training_count(settings, shape, gpus, max(1, len(gpus) - together), idle)
    if settings.inference.engine != "vllm":
        return gpus[:1], gpus[-count:]
    serving = (len(gpus) - count) // together * together
    return (gpus[:serving] if serving else gpus[-together:]), gpus[-count:]


def _training_count(settings: Settings, shape: Shape, gpus: tuple[Gpu, ...], most: int, idle: int) -> int:
    """How many GPUs train: as configured, at most `most`; by 0 one and the `idle` ones, and more until the model fits."""
    tuning = settings.finetuning
    if tuning.devices:
        return min(tuning.devices, most)
    least = min(1 + idle, most)
    enough = min(QUICK_TOKENS, tuning.micro_batch_tokens)
    for count in range(least, most + 1):
        left_gib = _smallest_gib(gpus[-count:]) * USABLE_SHARE
        if any(_largest_fitting(settings, shape, way, left_gib, count) >= enough for way in _ways(settings, count)):
            return count
    return least


def _smallest_gib(gpus: tuple[Gpu, ...]) -> float:
    return min(gpu.memory_gib for gpu in gpus)


def _indices(gpus: tuple[Gpu, ...]) -> tuple[int, ...]:
    return tuple(gpu.index for gpu in gpus)


def decide_engine(settings: Settings, shape: Shape, gpus: tuple[Gpu, ...], *, shared: bool) -> Settings:
    """The engine's number format, and its share of each of its GPUs: as configured (half where shared), or more if needed.

    The served weights become fp8 only where they would not fit otherwise, beside the smallest worker on a shared GPU.
    """
    smallest_gib = min(gpu.memory_gib for gpu in gpus)
    limit_gib = smallest_gib * USABLE_SHARE - (_smallest_worker_gib(settings, shape) if shared else 0.0)
    inference = settings.inference
    needed = EngineMemory(settings, shape).needed_gib
    if inference.engine == "vllm" and inference.quantization == "auto" and needed > limit_gib:
        settings = _with_inference(settings, quantization="fp8")
        needed = EngineMemory(settings, shape).needed_gib
    share = inference.gpu_memory_utilization / (2 if shared else 1)
    # Rounded up, for the plan is read by people.  More than the whole GPU cannot be given; that it does not fit is seen
    # in the device's sum.
    least = min(1.0, math.ceil(needed / smallest_gib * 1000) / 1000)
    return _with_inference(settings, gpu_memory_utilization=max(share, least))


def _smallest_worker_gib(settings: Settings, shape: Shape) -> float:
    """What a worker needs that may train in nf4, in micro-batches that are quick enough."""
    tuning = settings.finetuning
    precision = "nf4" if tuning.precision == "auto" else tuning.precision
    held = worker_holdings(settings, shape, precision, min(QUICK_TOKENS, tuning.micro_batch_tokens))
    return CUDA_CONTEXT_GIB + sum(holding.gib for holding in held)


@dataclass(frozen=True)
class _Way:
    """A way to hold the weights in training: their number format, and whether each GPU has a part of them or all."""

    precision: TrainingPrecision
    parallel: Literal["ddp", "fsdp"]


def _ways(settings: Settings, count: int) -> list[_Way]:
    """The ways that the settings leave open on so many GPUs, best first."""
    tuning = settings.finetuning
    precisions: list[TrainingPrecision] = ["bfloat16", "nf4"] if tuning.precision == "auto" else [tuning.precision]
    ways = []
    for precision in precisions:
        if tuning.parallel != "fsdp" or count == 1:
            ways.append(_Way(precision, "ddp"))
        # bitsandbytes' weights are not divided.
        if tuning.parallel != "ddp" and count > 1 and precision != "nf4":
            ways.append(_Way(precision, "fsdp"))
    return ways or [_Way("bfloat16", "fsdp")]


def _decide_training(settings: Settings, shape: Shape, left_gib: float, count: int) -> Settings:
    """How `count` GPUs hold the weights, and the tokens of a micro-batch with which training fits into what is left of each.

    If nothing fits, the smallest is decided, and the device's sum shows by how much it is too large.
    """
    tuning = settings.finetuning
    ways = _ways(settings, count)
    fitting = {way: _largest_fitting(settings, shape, way, left_gib, count) for way in ways}
    enough = min(QUICK_TOKENS, tuning.micro_batch_tokens)
    # Where none is quick, the one that fits the largest batch, of equals the one that needs least.
    way = next((way for way in ways if fitting[way] >= enough), max(reversed(ways), key=lambda way: fitting[way]))
    tokens = max(fitting[way], min(tuning.max_length, tuning.micro_batch_tokens))
    decided: dict[str, object] = {"precision": way.precision, "micro_batch_tokens": tokens, "devices": count}
    if count > 1:
        decided["parallel"] = way.parallel
    return settings.model_copy(update={"finetuning": tuning.model_copy(update=decided)})


def _largest_fitting(settings: Settings, shape: Shape, way: _Way, left_gib: float, count: int) -> int:
    """The configured tokens of a micro-batch, halved until training fits; 0 if it never does."""
    tokens = settings.finetuning.micro_batch_tokens
    while tokens:
        held = worker_holdings(settings, shape, way.precision, tokens, count, sharded=way.parallel == "fsdp")
        if CUDA_CONTEXT_GIB + sum(holding.gib for holding in held) <= left_gib:
            break
        # Samples are as long as they are: smaller micro-batches than one sample need no less memory.
        tokens = tokens // 2 if tokens > settings.finetuning.max_length else 0
    return tokens


def _with_inference(settings: Settings, **update: object) -> Settings:
    return settings.model_copy(update={"inference": settings.inference.model_copy(update=update)})
