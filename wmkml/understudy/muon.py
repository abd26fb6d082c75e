"""Muon in the precision the machine is fast in: momentum whose update is made orthogonal, for the matrices of layers.

Source: https://kellerjordan.github.io/posts/muon/ , coefficients and all.  torch.optim.Muon does the same, but always in bfloat16,
which a CPU without bfloat16 products multiplies forty times as slowly as float32.  Matrices of one shape go through it together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
RMS_OF_ADAMW = 0.2
"""An update is scaled to about the root mean square that AdamW's has, so that both take one learning rate."""


def orthogonal(matrices: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Near the closest orthogonal matrix of each, by Newton-Schulz iterations computed in `dtype`.

    `matrices` has shape (number, rows, columns), and so has the result, in `dtype`; singular values end between about 0.5 and 1.5.
    """
    found = matrices.to(dtype)
    tall = found.shape[1] > found.shape[2]
    found = found.mT if tall else found
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, each update orthogonal, weights decayed apart from it."""

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 0.0,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """Take matrices alone; `dtype` is that of the products.  Raises ValueError for a parameter that is no matrix."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype
        for group in self.param_groups:
            if strange := [tuple(one.shape) for one in group["params"] if one.ndim != 2]:
                raise ValueError(f"Muon takes matrices, not parameters of the shapes {strange}.")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step with the gradients there are; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.Tensor]] = {}
            for one in group["params"]:
                if one.grad is not None:
                    shapes.setdefault(one.shape, []).append(one)
            for alike in shapes.values():
                self._step(alike, group)
        return loss

    def _step(self, alike: list[torch.Tensor], group: dict[str, Any]) -> None:
        momentum, rate = group["momentum"], group["lr"]
        updates = []
        for one in alike:
            assert one.grad is not None
            state = self.state[one]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(one)
            buffer = state["momentum_buffer"]
            buffer.lerp_(one.grad, 1 - momentum)
            updates.append(one.grad.lerp(buffer, momentum))
        adjusted = rate * RMS_OF_ADAMW * math.sqrt(max(alike[0].shape))
        for one, update in zip(alike, orthogonal(torch.stack(updates), self.dtype), strict=True):
            one.mul_(1 - rate * group["weight_decay"])
            one.add_(update.to(one.dtype), alpha=-adjusted)
