"""The optimizer of a round (a new AdamW each time) and its learning rate schedule (linear to zero)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch

FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Types of devices with a fused AdamW in the torch that is pinned."""

OptimizerName = Literal["auto", "adamw_8bit", "adamw"]


class OptimizerMissingError(RuntimeError):
    """The optimizer named in the settings is not installed."""


def new_optimizer(
    name: OptimizerName, parameters: Iterable[torch.nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """A new AdamW: betas 0.9 and 0.999, eps 1e-8, no weight decay, rate 0 until `set_rate` is called.

    `auto`: 8-bit on a GPU where bitsandbytes is installed, else torch's, fused into one kernel where the device has it.

    Raises:
        OptimizerMissingError: `adamw_8bit` was requested by name and bitsandbytes is not installed.
    """
    parameters = list(parameters)
    settings: dict[str, Any] = {"lr": 0.0, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    if name == "adamw_8bit" or (name == "auto" and device.type == "cuda"):
        try:
            import bitsandbytes
        except ImportError:
            if name == "adamw_8bit":
                raise OptimizerMissingError(
                    "finetuning.optimizer: adamw_8bit needs bitsandbytes. pip install bitsandbytes, or use auto."
                ) from None
        else:
            optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, **settings)
            return optimizer
    return torch.optim.AdamW(parameters, **settings, fused=has_fused_adamw(device))


def has_fused_adamw(device: torch.device) -> bool:
    """Whether torch steps all parameters on this device in one kernel; its weights differ by rounding alone."""
    return device.type in FUSED_DEVICES


def decayed_rate(learning_rate: float, step: int, steps: int) -> float:
    """The rate of a step, counted from 0: linear decay that reaches zero after the last step; no warm-up."""
    return learning_rate * (1.0 - step / steps)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
