"""Trains round after round in a process of the lowest priority with one thread, as the worker does beside an engine on a CPU.

env/bin/python -m benchmarks.streams.trainer
"""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import torch

from benchmarks.round import samples
from benchmarks.ways import RATE, SHAPE
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.training.base_model import load_base
from wmkml.training.loop import NullWatcher, Recipe
from wmkml.training.rounds import RoundDefaults, RoundTrainer, TrainingRound


def main() -> None:
    """Train until killed."""
    os.nice(19)
    torch.set_num_threads(1)
    trainer = RoundTrainer(
        load_base(SHIPPED_MODEL, "auto"), SHAPE, RoundDefaults(Recipe(0.0, 2, 8, 4096, "adamw"), 256, "text")
    )
    for number in itertools.count():
        with tempfile.TemporaryDirectory() as folder:
            round_ = TrainingRound(tuple(samples(60)), RATE, number, None, Path(folder) / "adapter")
            trainer.train(round_, NullWatcher())


if __name__ == "__main__":
    main()
