"""The loss of a model on given answers; with the base model, how unlikely it finds what a trained iteration says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from wmkml.training.held_out import held_out_loss
from wmkml.training.samples import TokenizedSample


def mean_loss(
    model: torch.nn.Module,
    samples: Sequence[TokenizedSample],
    limit: int,
    device: torch.device,
    autocast: torch.dtype | None,
) -> float | None:
    """The mean loss over all target tokens of the samples, in nats; None without any target.

    Args:
        limit: most tokens per forward pass, padding included.
        autocast: data type of the matrix products; None: that of the weights.
    """
    loss = held_out_loss(model, samples, limit, device, autocast)
    return None if math.isnan(loss) and not any(sample.targets for sample in samples) else loss
