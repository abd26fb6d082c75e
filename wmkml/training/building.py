"""From the settings to a trainer: the base model loaded, wrapped and warmed up, as config.yaml says.

The one file of training that reads settings; whoever trains rounds begins here, the worker and the laboratory alike.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from wmkml.config import Finetuning, Settings
from wmkml.training.base import load_base
from wmkml.training.loop import Recipe
from wmkml.training.lora import LoraShape
from wmkml.training.rounds import Habits, RoundTrainer

log = logging.getLogger(__name__)


def make_trainer(settings: Settings, model: Path) -> RoundTrainer:
    """Load the base model, wrap it and warm it up.

    Raises:
        BaseMissing, ModulesMissing, OptimizerMissing: these settings cannot work here.
    """
    tuning = settings.finetuning
    began = time.monotonic()
    base = load_base(model, tuning.precision)
    shape = LoraShape(tuning.lora_r, tuning.lora_alpha, tuning.lora_dropout, tuple(tuning.lora_target_modules))
    trainer = RoundTrainer(base, shape, habits(tuning))
    log.info("Loaded %s in %s on %s: %.1f s", model.name, base.precision, base.device, time.monotonic() - began)
    began = time.monotonic()
    trainer.warm_up()
    log.info("Warmed up: %.1f s", time.monotonic() - began)
    return trainer


def habits(tuning: Finetuning) -> Habits:
    """What config.yaml says about every round."""
    recipe = Recipe(
        learning_rate=0.0,
        epochs=tuning.num_train_epochs,
        samples_per_step=tuning.batch_size * tuning.grad_acc_steps,
        micro_batch_tokens=tuning.micro_batch_tokens,
        optimizer=tuning.optimizer,
    )
    return Habits(recipe, tuning.max_length, tuning.loss_on)
