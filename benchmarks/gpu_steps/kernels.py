"""The steps of `gpu.py` about a round's parts: kernels of a micro-batch, gradients, Liger and packing, optimizers."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu_steps.model import (
    GIB,
    MODULES,
    RANK,
    GradientWatcher,
    device_of,
    existing_model,
    make_trainer,
    sample_pairs,
)
from benchmarks.gpu_steps.step import FigureRecorder, StepFailedError, StepNotRunError, StepSetting
from benchmarks.gpu_steps.training import RATE, median_seconds, synchronize
from wmkml.launcher.memory.model import shape_of
from wmkml.training.kernels.choice import read_probe, with_fast_kernels
from wmkml.training.loop import NullWatcher, Recipe, train
from wmkml.training.lora import reset_lora
from wmkml.training.optimizers import OptimizerMissingError, new_optimizer
from wmkml.training.rounds import RoundTrainer
from wmkml.training.samples import TokenizedSample, tokenize_pairs

MATRIX_KERNELS = re.compile("gemm|nvjet|cutlass|xmma|::mm|::addmm|::bmm", re.IGNORECASE)
"""Names of kernels (on a CPU: operators) that multiply matrices."""

GRADIENT_TOLERANCE = {"bfloat16": 0.05, "nf4": 0.05, "float32": 1e-3}
"""How far gradients of one step may differ by its micro-batches, relative to their norm: rounding alone."""


def profile(setting: StepSetting, record: FigureRecorder) -> None:
    """One micro-batch and its optimizer step under torch's profiler: which kernels take the time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    trainer = make_trainer(setting)
    device, on_gpu = trainer.base.device, trainer.base.device.type == "cuda"
    recipe, samples = _one_micro_batch(trainer)
    train(trainer.model, samples, recipe, NullWatcher())
    seconds = median_seconds(lambda: train(trainer.model, samples, recipe, NullWatcher()), device, repeats=3)
    record(tokens=sum(len(sample.ids) for sample in samples), milliseconds=seconds * 1e3)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profiler(activities=activities) as profiled:
        train(trainer.model, samples, recipe, NullWatcher())
        synchronize(device)
    kernels = [
        (event.key, event.count, event.self_device_time_total if on_gpu else event.self_cpu_time_total)
        for event in profiled.key_averages()
        if not on_gpu or event.device_type.name == "CUDA"
    ]
    whole = sum(microseconds for _, _, microseconds in kernels)
    if not whole:
        raise StepFailedError("the profiler saw no kernel (CUPTI may be forbidden on this machine)")
    record(
        kernels_milliseconds=whole / 1e3,
        matrix_share=sum(time_ for name, _, time_ in kernels if MATRIX_KERNELS.search(name)) / whole,
        kernels=[
            {"kernel": name[:120], "calls": calls, "milliseconds": time_ / 1e3, "share": time_ / whole}
            for name, calls, time_ in sorted(kernels, key=lambda kernel: -kernel[2])[:10]
        ],
    )


def _one_micro_batch(trainer: RoundTrainer) -> tuple[Recipe, list[TokenizedSample]]:
    """A recipe of one step, and as many of the longest samples as make one micro-batch of 4,096 tokens."""
    pairs = sample_pairs(trainer.base.tokenizer, 60, 0)
    samples = tokenize_pairs(trainer.base.tokenizer, pairs, 512, "text")
    samples.sort(key=lambda sample: -len(sample.ids))
    recipe = Recipe(RATE, 1, 256, 4096, "adamw", autocast=trainer.base.autocast, packed=trainer.base.packed)
    return recipe, samples[: 4096 // len(samples[0].ids)]


def gradients(setting: StepSetting, record: FigureRecorder) -> None:
    """The gradients of one optimizer step, in micro-batches of 4,096 tokens, of 1,024, and of one sample each."""
    # Dropout would be drawn differently for each division.
    trainer = make_trainer(setting, dropout=0.0)
    pairs = sample_pairs(trainer.base.tokenizer, 24, 0)
    samples = tokenize_pairs(trainer.base.tokenizer, pairs, 512, "text")
    # With B still zero the gradient of A is zero too.
    learn = Recipe(RATE, 1, 8, 1024, "adamw", autocast=trainer.base.autocast, packed=trainer.base.packed)
    train(trainer.model, samples, learn, NullWatcher())
    watcher, vectors, losses = GradientWatcher(trainer.model), list[torch.Tensor](), list[float]()
    for limit in (4096, 1024, 1):
        whole_step = replace(
            learn, learning_rate=0.0, samples_per_step=256, micro_batch_tokens=limit, max_grad_norm=math.inf
        )
        losses += train(trainer.model, samples, whole_step, watcher).losses
        vectors.append(torch.cat([gradient.flatten() for gradient in watcher.gradients.values()]))
    differences = [float((vector - vectors[0]).norm() / vectors[0].norm()) for vector in vectors[1:]]
    tolerance = GRADIENT_TOLERANCE[trainer.base.precision]
    record(
        precision=trainer.base.precision,
        gradient_norms=watcher.norms,
        losses=losses,
        difference_of_1024=differences[0],
        difference_one_by_one=differences[1],
        tolerance=tolerance,
    )
    if not min(watcher.norms) > 0:
        raise StepFailedError("the gradient is zero")
    if not max(differences) <= tolerance:
        raise StepFailedError(f"gradients depend on the micro-batches: they differ by {max(differences):.3g}")


def fast_kernels(setting: StepSetting, record: FigureRecorder) -> None:
    """The same round of 60 samples padded and packed, each without and with Liger's kernels (RMSNorm, SwiGLU, RoPE)."""
    if device_of(setting).type != "cuda":
        raise StepNotRunError("Liger's kernels and FlashAttention need a GPU")
    # Without dropout, which is drawn differently for each form of a batch, losses can be compared.
    trainer = make_trainer(setting, dropout=0.0, fast_kernels=False)
    log = _DecisionLog()
    ways, refused = [_speed(trainer, "padded", packed=False)], list[str]()
    record(ways=ways)
    plain = read_probe(trainer.base, packed=False)
    if with_fast_kernels(trainer.base, wants_liger=False).packed:
        ways.append(_speed(trainer, "packed", packed=True))
        record(ways=ways)
    else:
        refused.append("packing")
    packed = not refused
    if with_fast_kernels(trainer.base, wants_packing=packed).liger:
        nats, share = plain.deviation(read_probe(trainer.base, packed=False))
        record(liger_nats=nats, liger_gradient=share)
        ways.append(_speed(trainer, "padded, Liger", packed=False))
        if packed:
            ways.append(_speed(trainer, "packed, Liger", packed=True))
        record(ways=ways)
    else:
        refused.append("Liger")
    record(
        refused=refused,
        decision=log.newest,
        gain=max(way["tokens_a_second"] for way in ways) / ways[0]["tokens_a_second"] - 1,
    )
    difference = max(abs(way["loss"] / ways[0]["loss"] - 1) for way in ways)
    record(loss_difference=difference)
    if not difference <= 0.01:
        raise StepFailedError("the same samples have another loss")
    if len(refused) == 2:
        raise StepNotRunError(f"neither is used on this machine. {log.newest}")


class _DecisionLog(logging.Handler):
    """Keeps the newest sentence in which the worker's choice of kernels tells itself and its reasons."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.newest = ""
        chooser = logging.getLogger(with_fast_kernels.__module__)
        chooser.setLevel(logging.INFO)
        chooser.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.newest = record.getMessage()


def _speed(trainer: RoundTrainer, name: str, packed: bool) -> dict[str, Any]:
    """Real tokens a second of a round of 60 samples from a new adapter, its first loss and peak memory.

    One step of a few samples goes before it, so that nothing is compiled in it.
    """
    recipe = Recipe(RATE, 2, 256, 4096, "adamw", autocast=trainer.base.autocast, packed=packed)
    pairs = sample_pairs(trainer.base.tokenizer, 60, 0)
    samples = tokenize_pairs(trainer.base.tokenizer, pairs, 512, "text")
    train(trainer.model, samples[:20], replace(recipe, epochs=1), NullWatcher())
    reset_lora(trainer.model, 0)
    torch.cuda.reset_peak_memory_stats()
    result = train(trainer.model, samples, recipe, NullWatcher())
    return {
        "way": name,
        "tokens_a_second": result.tokens / result.seconds,
        "loss": result.losses[0],
        "peak_gib": torch.cuda.max_memory_allocated() / GIB,
    }


def optimizers(setting: StepSetting, record: FigureRecorder) -> None:
    """One step of torch's AdamW, of its fused one (ours), and of 8-bit AdamW, on parameters of a LoRA's shapes; no model."""
    device, shape = device_of(setting), shape_of("", existing_model(setting))
    ways: dict[str, Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]] = {
        "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0, fused=False),
        "fused": lambda parameters: new_optimizer("adamw", parameters, device),
        "adamw_8bit": lambda parameters: new_optimizer("adamw_8bit", parameters, device),
    }
    plain: torch.Tensor | None = None
    for name, way in ways.items():
        torch.manual_seed(0)
        sizes = [size for layer in MODULES for size in shape.linear(layer)] * shape.layers
        parameters = [torch.nn.Parameter(torch.randn(RANK, size, device=device) * 0.01) for size in sizes]
        try:
            optimizer = way(parameters)
        except OptimizerMissingError:
            record(**{name: "bitsandbytes is not installed"})
            continue
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        for group in optimizer.param_groups:
            group["lr"] = RATE
        milliseconds = median_seconds(optimizer.step, device, repeats=8) * 1e3
        weights = torch.cat([parameter.detach().flatten() for parameter in parameters])
        plain = weights if plain is None else plain
        difference = float((weights - plain).norm() / plain.norm())
        record(**{name: {"milliseconds": milliseconds, "difference": difference}})
        if name == "fused" and difference > 1e-4:
            raise StepFailedError(f"the fused AdamW takes other steps: weights differ by {difference:.3g}")
