"""Whether an experiment's two copies of the model, one that answers and one that is trained, fit into memory; loads nothing."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.config import Settings
from wmkml.models.devices import free_gib
from wmkml.models.stored_format import BYTES_A_WEIGHT

if TYPE_CHECKING:
    import torch

LIBRARIES_GIB = 0.5
"""What Python and the libraries take beside the model."""


def memory_problem(settings: Settings, model: Path, device: torch.device, available: float | None = None) -> str:
    """A sentence if the weights alone take more memory than is free; empty if they fit, or it cannot be told.

    Args:
        available: GiB; None: asked of the device.
    """
    from wmkml.training.base_model import count_parameters

    if available is None:
        available = free_gib(device)
    try:
        parameters = count_parameters(model)
    except (OSError, ValueError, KeyError, struct.error):
        return ""  # a file that is damaged is named when it is loaded
    if available is None:
        return ""
    answering, training = (parameters * size / 2**30 for size in _bytes_a_weight(settings, device))
    needed = answering + training + (0.0 if device.type == "cuda" else LIBRARIES_GIB)
    if needed <= available:
        return ""
    return (
        f"{model.name} needs about {needed:.1f} GiB of memory (weights that answer {answering:.1f}, weights that are trained "
        f"{training:.1f}), and {available:.1f} are free on {device.type}. Choose a smaller model with --model, or another "
        "--device."
    )


def _bytes_a_weight(settings: Settings, device: torch.device) -> tuple[float, float]:
    """Of the engine's copy and of the trainer's, each the least that the settings allow there."""
    chosen = settings.inference.dtype
    if device.type != "cuda":
        # As `start_resources` and `load_base` load them; products may be computed in bfloat16 all the same.
        return BYTES_A_WEIGHT["float32" if chosen == "auto" else chosen], BYTES_A_WEIGHT["float32"]
    precision = settings.finetuning.precision
    trained = BYTES_A_WEIGHT["nf4" if precision == "auto" else precision]
    return BYTES_A_WEIGHT["bfloat16" if chosen == "auto" else chosen], trained
