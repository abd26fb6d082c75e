"""The loss of a model on given answers; with the base model, how unlikely it finds what a trained iteration says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from wmkml.training.batching import micro_batches, pad_batch
from wmkml.training.samples import IGNORED, TokenizedSample


@torch.no_grad()
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
    targets = sum(sample.targets for sample in samples)
    if not targets:
        return None
    model.eval()
    total = 0.0
    for batch in micro_batches(samples, limit):
        ids, labels = pad_batch(batch, device)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            logits = model(input_ids=ids, use_cache=False).logits
        total += float(
            cross_entropy(
                logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
            )
        )
    return total / targets
