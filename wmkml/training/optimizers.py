"""The optimizers and the learning rate's way through a round: a fresh AdamW, and a straight line down to zero.

Knows no model and no samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch

OptimizerName = Literal["auto", "adamw_8bit", "adamw"]


class OptimizerMissing(RuntimeError):
    """The optimizer asked for is not installed here."""


def fresh(name: OptimizerName, parameters: Iterable[torch.nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
    """An AdamW without memory: betas 0.9 and 0.999, eps 1e-8, no weight decay; its rate is set before every step.

    `auto`: 8-bit on a GPU that has bitsandbytes, plain elsewhere.

    Raises:
        OptimizerMissing: `adamw_8bit` was asked for by name and bitsandbytes is not installed.
    """
    given = list(parameters)
    settings: dict[str, Any] = {"lr": 0.0, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    if name == "adamw_8bit" or (name == "auto" and device.type == "cuda"):
        try:
            import bitsandbytes
        except ImportError:
            if name == "adamw_8bit":
                raise OptimizerMissing(
                    "finetuning.optimizer: adamw_8bit needs bitsandbytes. pip install bitsandbytes, or use auto."
                ) from None
        else:
            optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(given, **settings)
            return optimizer
    return torch.optim.AdamW(given, **settings)


def rate_at(learning_rate: float, step: int, steps: int) -> float:
    """The rate of a step, counted from 0: a linear decay that would reach zero after the last one; no warm-up."""
    return learning_rate * (1.0 - step / steps)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
