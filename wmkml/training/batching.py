"""Which samples go through the model together: steps of so many samples, each in micro-batches of similar length.

How many samples one optimizer step sees decides what is learnt and is never changed; how many go through the model at
once decides only speed and memory, so there the batches follow lengths and are halved when memory runs out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wmkml.training.samples import IGNORED, Tokens


def steps_of(count: int, samples_per_step: int, epochs: int, seed: int) -> list[list[int]]:
    """Indices of the samples of every optimizer step, each epoch in its own order drawn from the seed.

    Every epoch ends with what is left, so it has ceil(count / samples_per_step) steps.
    """
    steps = []
    for epoch in range(epochs):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        steps += [order[first : first + samples_per_step] for first in range(0, count, samples_per_step)]
    return steps


def micro_batches(samples: Sequence[Tokens], limit: int) -> list[list[Tokens]]:
    """Split one step's samples, longest first, so that a batch padded to its longest has at most `limit` tokens.

    A sample that is longer than the limit by itself is a batch of its own.
    """
    batches: list[list[Tokens]] = []
    for sample in sorted(samples, key=lambda one: len(one.ids), reverse=True):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0].ids) <= limit:
            batches[-1].append(sample)
        else:
            batches.append([sample])
    return batches


def padded(batch: Sequence[Tokens], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels as (samples, longest) tensors, padded on the right.

    Attention is causal: no token sees the padding that follows it, so no attention mask is needed.
    """
    longest = max(len(sample.ids) for sample in batch)
    ids = [list(sample.ids) + [0] * (longest - len(sample.ids)) for sample in batch]
    labels = [list(sample.labels) + [IGNORED] * (longest - len(sample.labels)) for sample in batch]
    return torch.tensor(ids, device=device), torch.tensor(labels, device=device)
