"""Training rounds of the tiny model: their jobs, a watcher that records them, and the weights they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.training.tiny_model import PAIRS
from wmkml.adapters.files import WEIGHTS_FILE
from wmkml.training.loop import NullWatcher, OptimizerStep
from wmkml.training.rounds import PreviousAdapter, TrainingRound

RATE = 0.003


class RecordingWatcher(NullWatcher):
    """Records steps and notices; ends the training after `stop_after` steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[OptimizerStep] = []
        self.notices: list[str] = []
        self.stop_after = stop_after

    def should_continue(self) -> bool:
        return self.stop_after is None or len(self.steps) < self.stop_after

    def on_step(self, done: OptimizerStep) -> None:
        self.steps.append(done)

    def on_notice(self, sentence: str) -> None:
        self.notices.append(sentence)


def job(folder: Path, *, seed: int = 1, previous: PreviousAdapter | None = None, pairs: Any = PAIRS) -> TrainingRound:
    return TrainingRound(tuple(pairs), RATE, seed, previous, folder)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_file(folder / WEIGHTS_FILE)
    return weights
