"""The loss of a batch, computed in parts that stay in the cache, its gradient at once with it.

Plain cross-entropy makes five arrays of the size of the logits in float32: on a CPU that takes longer than all matrix
products of a small model, and on a GPU it is the most memory.  Here a part of the rows is made float32 at a time, and
what is kept for the backward pass is the gradient alone, in the logits' own number format: the same rounding as before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from wmkml.training.samples import IGNORED

PART_OF_CPU, PART_OF_GPU = 2**19, 2**25
"""Logits that are float32 at once: 2 MiB, which a core's cache holds, and 128 MiB, which fill a GPU."""


def token_losses(logits: torch.Tensor, labels: torch.Tensor, targets: int) -> torch.Tensor:
    """The sum of the losses of all targets, divided by `targets`; each token is predicted by the one before it.

    Args:
        logits: of shape (rows, tokens, vocabulary), in any float format.
        labels: of shape (rows, tokens); the token's own id, or IGNORED.
        targets: of the whole optimizer step, of which this may be a part.

    Returns:
        A float32 scalar with a gradient.
    """
    wanted = pad(labels[:, 1:], (0, 1), value=IGNORED)
    loss: torch.Tensor = _CrossEntropy.apply(logits.flatten(0, 1), wanted.flatten(), 1.0 / targets)  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(torch.autograd.Function):
    """`scale` times the summed cross-entropy of the rows whose target is not IGNORED."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, wanted: torch.Tensor, scale: float) -> torch.Tensor:
        rows, vocabulary = logits.shape
        part = max(1, (PART_OF_CPU if logits.device.type == "cpu" else PART_OF_GPU) // vocabulary)
        gradient = torch.empty_like(logits)
        total = torch.zeros((), device=logits.device)
        for first in range(0, rows, part):
            tokens = wanted[first : first + part, None]
            ignored = tokens == IGNORED
            tokens = tokens.clamp(min=0)
            values = torch.log_softmax(logits[first : first + part], dim=-1, dtype=torch.float32)
            total -= values.gather(1, tokens).masked_fill_(ignored, 0.0).sum()
            values.exp_().scatter_add_(1, tokens, values.new_full(tokens.shape, -1.0))
            # Rows without a target are set and not multiplied: there NaN would stay NaN.
            gradient[first : first + part] = values.mul_(scale).masked_fill_(ignored, 0.0)
        ctx.save_for_backward(gradient)
        return total * scale

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        # Autograd keeps it no longer than this, and it is used once: a product of its own would be one more array.
        return gradient.mul_(outer[0]), None, None
