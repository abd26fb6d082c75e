"""The loss on samples that are not trained on: how well the model reads them, in nats a token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from wmkml.training.batching import micro_batches, pad_batch
from wmkml.training.loss import token_losses
from wmkml.training.out_of_memory import is_out_of_memory
from wmkml.training.samples import TokenizedSample

SAMPLES_AT_ONCE = 512
"""Samples that are sorted by length together, so that a large part is read as a stream."""


def held_out_loss(
    model: torch.nn.Module,
    samples: Sequence[TokenizedSample],
    micro_batch_tokens: int,
    device: torch.device,
    autocast: torch.dtype | None,
) -> float:
    """The mean loss of the samples' target tokens; NaN without any.

    The model is in evaluation mode afterwards.  No random number is drawn.

    Args:
        micro_batch_tokens: most tokens at once; halved while memory runs out.
    """
    model.eval()
    total, targets, limit = 0.0, 0, micro_batch_tokens
    with torch.no_grad():
        for group in _groups(samples):
            while True:
                loss = _loss_of(model, group, limit, device, autocast)
                if loss is not None:
                    break
                limit //= 2
            of_group = sum(sample.targets for sample in group)
            total, targets = total + loss * of_group, targets + of_group
    return total / targets if targets else float("nan")


def _loss_of(
    model: torch.nn.Module,
    group: Sequence[TokenizedSample],
    limit: int,
    device: torch.device,
    autocast: torch.dtype | None,
) -> float | None:
    """The mean loss of a group's targets; None: memory ran out, and it may fit with fewer tokens at once."""
    targets = sum(sample.targets for sample in group)
    total = 0.0
    for batch in micro_batches(group, limit):
        try:
            ids, labels = pad_batch(batch, device)
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                logits = model(input_ids=ids, use_cache=False).logits
            total += float(token_losses(logits, labels, targets))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or limit <= 1:
                raise
            return None
    return total


def _groups(samples: Iterable[TokenizedSample]) -> Iterator[list[TokenizedSample]]:
    group: list[TokenizedSample] = []
    for sample in samples:
        if sample.targets:
            group.append(sample)
        if len(group) == SAMPLES_AT_ONCE:
            yield group
            group = []
    if group:
        yield group
