"""The steps of `gpu.py` about rounds: the model they train, their speed and memory, too little memory, and nf4."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_steps.model import (
    GIB,
    SHAPES,
    GradientWatcher,
    device_of,
    make_trainer,
    sample_pairs,
    write_model,
)
from benchmarks.gpu_steps.step import FigureRecorder, StepFailedError, StepNotRunError, StepSetting
from wmkml.adapters.probe import read_probe
from wmkml.launcher.memory.model import LINEAR, Shape, shape_of, training_gib
from wmkml.models.files import is_complete
from wmkml.training.base_model import BaseMissingError, load_base
from wmkml.training.loop import MemoryExhaustedError
from wmkml.training.lora import lora_parameters, reset_lora
from wmkml.training.rounds import PreviousAdapter, RoundTrainer, TrainingRound

RATE = 0.0015
"""The original's learning rate."""

FLOPS = 4
"""Of a training step, per parameter of a matrix and token: 2 forward, 2 for the gradient of its inputs; it is frozen."""


def make_model(setting: StepSetting, record: FigureRecorder) -> None:
    """Make the model on the device, write it, and load it as the worker does."""
    device, folder = device_of(setting), setting.model_folder
    if is_complete(folder):
        record(reused=True)
    else:
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / "config.json").write_text(json.dumps(SHAPES[setting.shape]), encoding="utf-8")
        needed, free = shape_of("", unfinished).weights_gib("bfloat16"), shutil.disk_usage(unfinished).free / GIB
        if free < needed + 1:
            raise StepFailedError(
                f"{setting.folder} has {free:.1f} GiB free, the model takes {needed:.1f}: name another by --folder"
            )
        began = time.perf_counter()
        record(parameters=write_model(setting, unfinished, device), making_seconds=time.perf_counter() - began)
        unfinished.rename(folder)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    base = load_base(folder, setting.precision, device)
    record(precision=base.precision, loading_seconds=time.perf_counter() - began)
    if device.type == "cuda":
        held = torch.cuda.memory_allocated() / GIB
        record(held_gib=held, planned_gib=shape_of("", folder).weights_gib(base.precision))


def rounds(setting: StepSetting, record: FigureRecorder) -> None:
    """Rounds of 60 and of 180 samples, each from the adapter of the one before, as the worker trains them."""
    began = time.perf_counter()
    trainer = make_trainer(setting)
    shape = shape_of("", setting.model_folder)
    rate = matrix_flops_a_second(shape, trainer)
    record(precision=trainer.base.precision, loading_seconds=time.perf_counter() - began, matmul_tflops=rate / 1e12)
    trainer.warm_up()
    watcher, lines, previous = GradientWatcher(trainer.model), list[dict[str, Any]](), None
    folder = fresh_folder(setting, "rounds")
    for number, count in enumerate((60, 180)):
        line, previous = _measured_round(trainer, watcher, shape, rate, count, number, previous, folder)
        lines.append(line)
        record(rounds=lines)
    check_rounds(lines)


def _measured_round(
    trainer: RoundTrainer,
    watcher: GradientWatcher,
    shape: Shape,
    rate: float,
    count: int,
    number: int,
    previous: PreviousAdapter | None,
    folder: Path,
) -> tuple[dict[str, Any], PreviousAdapter]:
    if previous is None:
        # The round does the same with the same seed, so these are the weights that it starts from.
        reset_lora(trainer.model, number)
    start = {name: parameter.detach().clone() for name, parameter in lora_parameters(trainer.model).items()}
    pairs = sample_pairs(trainer.base.tokenizer, count, number)
    job = TrainingRound(pairs, RATE, number, previous, folder / f"iteration-{number}")
    on_gpu = trainer.base.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    began, steps_before = time.perf_counter(), len(watcher.norms)
    trained = trainer.train(job, watcher)
    seconds, result = time.perf_counter() - began, trained.result
    changes = [
        (float((parameter.detach() - start[name]).norm()), float(start[name].norm()))
        for name, parameter in lora_parameters(trainer.model).items()
    ]
    probe = read_probe(trained.folder)
    assert probe is not None
    line = {
        "samples": count,
        "tokens": result.tokens,
        "train_seconds": result.seconds,
        "whole_seconds": seconds,
        "tokens_a_second": result.tokens / result.seconds,
        "share_of_matmul": FLOPS * matrix_parameters(shape) * result.tokens / result.seconds / rate,
        "gradient_norms": watcher.norms[steps_before:],
        "adapter_change": math.hypot(*(change for change, _ in changes)) / math.hypot(*(norm for _, norm in changes)),
        "moved_nats": statistics.fmean(abs(new - old) for new, old in zip(probe.adapter, probe.previous, strict=True)),
        "losses": result.losses,
        "micro_batch_tokens": result.micro_batch_tokens,
        "planned_gib": planned_gib(shape, trainer, result.micro_batch_tokens),
    }
    if on_gpu:
        line |= {
            "peak_gib": torch.cuda.max_memory_allocated() / GIB,
            "reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        }
    return line, PreviousAdapter(trained.folder, trained.sha256)


def check_rounds(lines: list[dict[str, Any]]) -> None:
    """Refuse rounds that trained nothing, however fast they were.

    Raises:
        StepFailedError: a gradient is zero, or the adapter or what it says is as before.
    """
    for line in lines:
        name = f"the round of {line['samples']} samples"
        if not min(line["gradient_norms"]) > 0:
            raise StepFailedError(f"{name} had a gradient of zero: its speed counts for nothing")
        if not (line["adapter_change"] > 0 and line["moved_nats"] > 0):
            raise StepFailedError(f"{name} left the adapter as it was: its speed counts for nothing")


def planned_gib(shape: Shape, trainer: RoundTrainer, tokens: int) -> float:
    """What the launcher's plan expects of such a training, without what a process needs before it holds a model."""
    parameters = sum(parameter.numel() for parameter in lora_parameters(trainer.model).values())
    return sum(training_gib(shape, trainer.base.precision, tokens, parameters).values())


def matrix_parameters(shape: Shape) -> int:
    """Parameters that are multiplied with every token: linear layers and output head, and not the embedding."""
    return shape.layers * sum(math.prod(shape.linear(name)) for name in LINEAR) + shape.vocabulary * shape.hidden


def matrix_flops_a_second(shape: Shape, trainer: RoundTrainer, tokens: int = 4096) -> float:
    """The rate of this device on products of the model's own shapes, in the number format that training computes in."""
    device, dtype = trainer.base.device, trainer.base.autocast or torch.float32
    products = [(shape.linear(name), shape.layers) for name in LINEAR] + [((shape.hidden, shape.vocabulary), 1)]
    seconds = flops = 0.0
    for (inputs, outputs), count in products:
        rows = torch.randn(tokens, inputs, device=device, dtype=dtype)
        weight = torch.randn(outputs, inputs, device=device, dtype=dtype)
        seconds += count * median_seconds(lambda rows=rows, weight=weight: rows @ weight.T, device, repeats=8)  # type: ignore[misc]
        flops += count * 2.0 * tokens * inputs * outputs
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return flops / seconds


def median_seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median time of a piece of work, which is done twice before it is measured."""
    times = []
    for _ in range(repeats + 2):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def synchronize(device: torch.device) -> None:
    """Wait until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def recovery(setting: StepSetting, record: FigureRecorder) -> None:
    """A round that finds too little memory: it must halve its micro-batches, finish, and have learned."""
    tokens = 16384
    trainer = make_trainer(setting, micro_batch_tokens=tokens)
    if trainer.base.device.type == "cuda":
        shape = shape_of("", setting.model_folder)
        total = torch.cuda.mem_get_info()[1] / GIB
        # On a small card less than 0.3 of it would not even hold the weights.
        share = min(1.0, max(0.3, planned_gib(shape, trainer, 1024) / total))
        torch.cuda.set_per_process_memory_fraction(share)
        record(memory_share=share, limit_gib=share * total, planned_gib=planned_gib(shape, trainer, tokens))
    else:
        # A CPU has no such limit, so the model pretends one.
        trainer.model.register_forward_pre_hook(_refuse_large_batches, with_kwargs=True)
        record(pretended=True)
    watcher = GradientWatcher(trainer.model)
    job = TrainingRound(sample_pairs(trainer.base.tokenizer, 60, 0), RATE, 0, None, Path("unused"))
    try:
        result = trainer.train_weights(job, watcher)
    except MemoryExhaustedError as error:
        raise StepFailedError(f"the round did not recover: {error}") from None
    record(
        halvings=len(watcher.notices),
        micro_batch_tokens=result.micro_batch_tokens,
        train_seconds=result.seconds,
        gradient_norms=watcher.norms,
        losses=result.losses,
    )
    if trainer.base.device.type == "cuda":
        record(reserved_gib=torch.cuda.max_memory_reserved() / GIB)
    if result.micro_batch_tokens >= tokens:
        raise StepFailedError("memory never ran out, so nothing was recovered from")
    if not min(watcher.norms) > 0:
        raise StepFailedError("after the recovery the gradient is zero")


def _refuse_large_batches(module: torch.nn.Module, arguments: Any, named: dict[str, Any]) -> None:
    if named["input_ids"].numel() > 2500:
        raise torch.OutOfMemoryError("CUDA out of memory (pretended).")


def nf4(setting: StepSetting, record: FigureRecorder) -> None:
    """A round in nf4 in micro-batches of 1,024 tokens, as a worker on a card of 24 GB that it shares would train it."""
    if device_of(setting).type != "cuda":
        raise StepNotRunError("nf4 needs a GPU")
    for package in ("bitsandbytes", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise StepNotRunError(f"{package} is not installed")
    total = torch.cuda.mem_get_info()[1] / GIB
    torch.cuda.set_per_process_memory_fraction(min(1.0, 24 / total))
    try:
        trainer = make_trainer(setting, precision="nf4", micro_batch_tokens=1024)
    except BaseMissingError as error:
        raise StepNotRunError(str(error)) from None
    record(loaded_gib=torch.cuda.memory_allocated() / GIB, loading_peak_gib=torch.cuda.max_memory_allocated() / GIB)
    shape = shape_of("", setting.model_folder)
    trainer.warm_up()
    rate, watcher = matrix_flops_a_second(shape, trainer), GradientWatcher(trainer.model)
    line, _ = _measured_round(trainer, watcher, shape, rate, 60, 0, None, fresh_folder(setting, "nf4"))
    record(rounds=[line])
    check_rounds([line])


def fresh_folder(setting: StepSetting, name: str) -> Path:
    """A new folder for adapters; an adapter's folder is never written twice."""
    number = len(list(setting.folder.glob(f"{name}-*")))
    folder = setting.folder / f"{name}-{number}"
    folder.mkdir()
    return folder
