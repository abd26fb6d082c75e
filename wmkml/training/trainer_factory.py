"""Build a RoundTrainer from the settings, for the worker and the laboratory.

No other file of this package reads settings.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch

from wmkml.config import Finetuning, Settings
from wmkml.training.base_model import load_base
from wmkml.training.batching import quick_limit
from wmkml.training.kernels.choice import with_fast_kernels
from wmkml.training.loop import Recipe
from wmkml.training.lora import LoraShape
from wmkml.training.rounds import RoundDefaults, RoundTrainer

log = logging.getLogger(__name__)


def make_trainer(settings: Settings, model: Path) -> RoundTrainer:
    """Load the base model, give it the fastest kernels that are right here, wrap it with a LoRA and warm it up.

    Raises:
        BaseMissingError, ModulesMissingError, OptimizerMissingError: the settings do not fit this model or machine.
    """
    tuning = settings.finetuning
    began = time.monotonic()
    base = with_fast_kernels(load_base(model, tuning.precision), wants_liger=tuning.liger, wants_packing=tuning.packing)
    shape = LoraShape(tuning.lora_r, tuning.lora_alpha, tuning.lora_dropout, tuple(tuning.lora_target_modules))
    trainer = RoundTrainer(base, shape, round_defaults(tuning, base.device))
    log.info("Loaded %s in %s on %s: %.1f s", model.name, base.precision, base.device, time.monotonic() - began)
    began = time.monotonic()
    trainer.warm_up()
    log.info("Warmed up: %.1f s", time.monotonic() - began)
    return trainer


def round_defaults(tuning: Finetuning, device: torch.device) -> RoundDefaults:
    """The part of a round's recipe that config.yaml fixes for all rounds."""
    recipe = Recipe(
        learning_rate=0.0,
        epochs=tuning.num_train_epochs,
        samples_per_step=tuning.batch_size * tuning.grad_acc_steps,
        micro_batch_tokens=quick_limit(tuning.micro_batch_tokens, device),
        optimizer=tuning.optimizer,
    )
    return RoundDefaults(recipe, tuning.max_length, tuning.loss_on)
