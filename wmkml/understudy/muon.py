"""The Muon optimizer (momentum with orthogonalised updates, for matrices) in a choosable precision.

Source, including the coefficients: https://kellerjordan.github.io/posts/muon/ .  torch.optim.Muon does the same, but
always in bfloat16, which is forty times as slow as float32 on a CPU without bfloat16 products.  Matrices of one shape
are batched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
RMS_OF_ADAMW = 0.2
"""The root mean square of a typical AdamW update; Muon's are scaled to it, so that both use one learning rate."""


def orthogonal(matrices: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Approximately the nearest orthogonal matrix of each, by Newton-Schulz iterations computed in `dtype`.

    `matrices` and the result have shape (number, rows, columns); the result's singular values are about 0.5 to 1.5.
    """
    x = matrices.to(dtype)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with orthogonalised updates and decoupled weight decay."""

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 0.0,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """Take matrices alone; `dtype` is that of the products.

        Raises ValueError for a parameter that is no matrix.
        """
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype
        for group in self.param_groups:
            if refused := [tuple(parameter.shape) for parameter in group["params"] if parameter.ndim != 2]:
                raise ValueError(f"Muon takes matrices, not parameters of the shapes {refused}.")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient; returns the closure's loss, if a closure is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_shape.values():
                self._step(parameters, group)
        return loss

    def _step(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        """Update parameters of one shape together."""
        momentum, rate = group["momentum"], group["lr"]
        updates = []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffer = state["momentum_buffer"]
            buffer.lerp_(parameter.grad, 1 - momentum)
            updates.append(parameter.grad.lerp(buffer, momentum))
        adjusted = rate * RMS_OF_ADAMW * math.sqrt(max(parameters[0].shape))
        for parameter, update in zip(parameters, orthogonal(torch.stack(updates), self.dtype), strict=True):
            parameter.mul_(1 - rate * group["weight_decay"])
            parameter.add_(update.to(parameter.dtype), alpha=-adjusted)
