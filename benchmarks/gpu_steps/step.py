"""What `gpu.py` and its steps share: the setting of a step, how it records figures, and how it says that it cannot run.

Standard library only, so that a step which needs nothing else starts at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

PROJECT = Path(__file__).resolve().parent.parent.parent
"""The folder of the project."""

Result = Literal["ok", "failed", "not run"]


class StepNotRunError(RuntimeError):
    """A step cannot run here; the text says what is missing."""


class StepFailedError(RuntimeError):
    """A step ran and what it found is wrong; the text says what."""


@dataclass(frozen=True)
class StepSetting:
    """What a step works with.

    Attributes:
        folder: the model and adapters that the steps leave to one another; written by the steps alone.
        shape: a key of `benchmarks.gpu_steps.model.SHAPES`.
        precision: of the frozen weights in training, as `finetuning.precision`.
    """

    folder: Path
    shape: str
    precision: Literal["auto", "bfloat16", "float32", "nf4"]

    @property
    def trial(self) -> bool:
        """Whether the model is so small that the figures say nothing of a GPU."""
        return self.shape == "tiny"

    @property
    def model_folder(self) -> Path:
        """The folder of the model that the step `model` makes."""
        return self.folder / f"model-{self.shape}"

    @property
    def adapters_folder(self) -> Path:
        """The folder of the adapters that the step `adapter` writes."""
        return self.folder / f"adapters-{self.shape}"


class FigureRecorder:
    """The figures of a step, in a file from the moment they are measured: a step that is killed keeps what it had."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._figures: dict[str, Any] = {}

    def __call__(self, **figures: Any) -> None:
        """Add figures, or replace those of the same names; a number that is not finite is recorded as its name."""
        self._figures |= {name: _rounded(value) for name, value in figures.items()}
        self._write({})

    def close(self, result: Result, reason: str = "") -> None:
        """Record how the step ended."""
        self._write({"result": result, "reason": reason})

    def _write(self, outcome: dict[str, str]) -> None:
        unfinished = self._file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({**self._figures, **outcome}, allow_nan=False), encoding="utf-8")
        unfinished.replace(self._file)


StepFunction = Callable[[StepSetting, FigureRecorder], None]
"""A step: records figures; raises StepNotRunError, StepFailedError, or whatever goes wrong."""


def _rounded(value: Any) -> Any:
    """Floats to five significant digits, also inside of lists and dictionaries; JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(name): _rounded(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(content) for content in value]
    return value
