"""Measures of answers by a model that reads them: how unlikely the untouched model finds what the dying one says.

Knows torch and tokens; the model comes in from outside, with or without an adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from wmkml.training.batching import micro_batches, padded
from wmkml.training.samples import IGNORED, Tokens


@torch.no_grad()
def mean_loss(
    model: torch.nn.Module, samples: Sequence[Tokens], limit: int, device: torch.device, autocast: torch.dtype | None
) -> float | None:
    """Mean loss over all targets of these samples, in nats; none where there is no target.

    Args:
        limit: how many tokens go through the model at once.
        autocast: what matrix products are computed in; None: as the weights are.
    """
    targets = sum(sample.targets for sample in samples)
    if not targets:
        return None
    model.eval()
    total = 0.0
    for batch in micro_batches(samples, limit):
        ids, labels = padded(batch, device)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            logits = model(input_ids=ids, use_cache=False).logits
        total += float(
            cross_entropy(
                logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
            )
        )
    return total / targets
