"""Rounds of the tiny model: what is asked of one, who listens to it, and the weights that it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.tiny_model import PAIRS
from wmkml.training.loop import StepDone, Unwatched
from wmkml.training.lora import WEIGHTS_FILE
from wmkml.training.rounds import Previous, Round

RATE = 0.003


class Listener(Unwatched):
    """Remembers everything it is told."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[StepDone] = []
        self.notices: list[str] = []
        self.stop_after = stop_after

    def proceed(self) -> bool:
        return self.stop_after is None or len(self.steps) < self.stop_after

    def stepped(self, done: StepDone) -> None:
        self.steps.append(done)

    def noticed(self, sentence: str) -> None:
        self.notices.append(sentence)


def job(folder: Path, *, seed: int = 1, previous: Previous | None = None, pairs: Any = PAIRS) -> Round:
    return Round(tuple(pairs), RATE, seed, previous, folder)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS_FILE)
