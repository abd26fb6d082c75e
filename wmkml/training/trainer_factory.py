"""Build a trainer of rounds from the settings, for the worker and the laboratory, in this process or on several devices.

No other file of this package reads settings.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path

import torch

from wmkml.config import Finetuning, Settings
from wmkml.training.adapter_writer import FolderGoneError
from wmkml.training.base_model import BaseMissingError, load_base, require_model
from wmkml.training.batching import quick_limit
from wmkml.training.kernels.choice import with_fast_kernels
from wmkml.training.loop import MemoryExhaustedError, Recipe, TrainingDroppedError, TrainingSpoiledError
from wmkml.training.lora import AdapterBrokenError, LoraShape, ModulesMissingError
from wmkml.training.optimizers import OptimizerMissingError
from wmkml.training.ranks.group import ALONE
from wmkml.training.ranks.process import RankPlan, RankSeat
from wmkml.training.ranks.sharding import load_sharded_base
from wmkml.training.ranks.trainer import RankedTrainer
from wmkml.training.rounds import RoundDefaults, RoundTrainer

log = logging.getLogger(__name__)


EXPECTED_ERRORS = (
    AdapterBrokenError,
    BaseMissingError,
    FolderGoneError,
    MemoryExhaustedError,
    ModulesMissingError,
    OptimizerMissingError,
    TrainingDroppedError,
    TrainingSpoiledError,
)
"""Errors of loading and training whose texts are written by this project and quote no sample."""

LOADING_SECONDS, SLOWEST_READING = 900.0, 0.02 * 2**30
"""How long ranks may load: so long, and the time to read the model from a slow network volume, in bytes a second."""


class DevicesMissingError(RuntimeError):
    """The settings want more GPUs to train on than there are."""


def make_trainer(
    settings: Settings, model: Path, seat: RankSeat | None = None, micro_batch_tokens: int | None = None
) -> RoundTrainer:
    """Load the base model, give it the fastest kernels that are right here, wrap it with a LoRA and warm it up.

    Args:
        seat: this process's device, and the others that train with it; None: alone, on the first GPU or the CPU.
        micro_batch_tokens: instead of those of the settings.

    Raises:
        BaseMissingError, ModulesMissingError, OptimizerMissingError: the settings do not fit this model or machine.
    """
    tuning = settings.finetuning
    group = ALONE if seat is None else seat.group
    began = time.monotonic()
    if seat is not None and group.lockstep:
        base = load_sharded_base(model, tuning.precision, seat)
    else:
        base = load_base(model, tuning.precision, None if seat is None else seat.device)
    base = with_fast_kernels(base, wants_liger=tuning.liger, wants_packing=tuning.packing)
    shape = LoraShape(tuning.lora_r, tuning.lora_alpha, tuning.lora_dropout, tuple(tuning.lora_target_modules))
    trainer = RoundTrainer(base, shape, round_defaults(tuning, base.device, micro_batch_tokens), group)
    log.info("Loaded %s in %s on %s: %.1f s", model.name, base.precision, base.device, time.monotonic() - began)
    began = time.monotonic()
    trainer.warm_up()
    log.info("Warmed up: %.1f s", time.monotonic() - began)
    return trainer


def make_ranked_trainer(
    settings: Settings, model: Path, devices: int, *, threads: int, nice: bool, patience: float = 300.0
) -> RankedTrainer:
    """A trainer that computes on several devices, in a process for each; returns when all are warmed up.

    Args:
        devices: GPUs, or processes on the CPU where there is no GPU.
        threads: CPU threads of all together, or of each beside a GPU; 0: torch's own choice.
        nice: on a CPU, yield to other processes.
        patience: seconds for which all may stand still before they are given up.

    Raises:
        DevicesMissingError: there are fewer GPUs.
        RankLostError: one process did not start; and all that `make_trainer` raises.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < devices:
        raise DevicesMissingError(
            f"finetuning.devices: {devices} wants as many GPUs, and this worker sees {gpus}. Give a smaller number."
        )
    require_model(model)
    size = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    plan = RankPlan(
        size=devices,
        lockstep=settings.finetuning.parallel == "fsdp",
        gpus=gpus > 0,
        threads=threads if gpus else max(1, threads // devices),
        nice=nice,
        loading_seconds=LOADING_SECONDS + size / SLOWEST_READING,
        silent_seconds=patience,
        expected=EXPECTED_ERRORS,
    )
    tokens = settings.finetuning.micro_batch_tokens
    trainer = RankedTrainer(partial(_trainer_of_rank, settings, model), plan, tokens, settings.finetuning.max_length)
    trainer.start()
    return trainer


def _trainer_of_rank(settings: Settings, model: Path, micro_batch_tokens: int, seat: RankSeat) -> RoundTrainer:
    return make_trainer(settings, model, seat, micro_batch_tokens)


def round_defaults(tuning: Finetuning, device: torch.device, micro_batch_tokens: int | None = None) -> RoundDefaults:
    """The part of a round's recipe that config.yaml fixes for all rounds; `micro_batch_tokens`: instead of its own."""
    recipe = Recipe(
        learning_rate=0.0,
        epochs=tuning.num_train_epochs,
        samples_per_step=tuning.batch_size * tuning.grad_acc_steps,
        micro_batch_tokens=quick_limit(micro_batch_tokens or tuning.micro_batch_tokens, device),
        optimizer=tuning.optimizer,
    )
    return RoundDefaults(recipe, tuning.max_length, tuning.loss_on)
