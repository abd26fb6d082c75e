"""Which samples go through the model together: optimizer steps, each split into micro-batches of similar length.

The number of samples per optimizer step affects what is learnt and is never changed.  The size of the micro-batches
affects only speed and memory: they are formed by length, and halved when memory runs out.  A micro-batch is padded to
its longest sample, or packed: one row of samples without padding, for `wmkml.training.kernels.document_attention`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import torch

from wmkml.training.kernels.document_attention import document_arguments
from wmkml.training.samples import IGNORED, TokenizedSample

CPU_TOKENS = 1024
"""Tokens at once beyond which a CPU trains no faster: its caches are full, and short samples are padded to longer ones."""


def quick_limit(limit: int, device: torch.device) -> int:
    """The most tokens of a micro-batch with which this device is quick: `limit`, on a CPU CPU_TOKENS at most."""
    return min(limit, CPU_TOKENS) if device.type == "cpu" else limit


class StepPlan(Sequence[list[int]]):
    """The sample indices of every optimizer step; each epoch is shuffled with `seed` + its number.

    The last step of an epoch takes the remainder, so an epoch has ceil(count / samples_per_step) steps.  In memory is the
    order of one epoch, eight bytes a sample.
    """

    def __init__(self, count: int, samples_per_step: int, epochs: int, seed: int) -> None:
        self._count, self._samples_per_step, self._epochs, self._seed = count, samples_per_step, epochs, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return self._epochs * self._epoch_steps

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        epoch, step = divmod(index % len(self), self._epoch_steps)
        if epoch != self._epoch:
            shuffled = torch.Generator().manual_seed(self._seed + epoch)
            self._epoch, self._order = epoch, torch.randperm(self._count, generator=shuffled)
        first = step * self._samples_per_step
        return self._order[first : first + self._samples_per_step].tolist()

    @property
    def _epoch_steps(self) -> int:
        return -(-self._count // self._samples_per_step)


def shares_of(samples: Sequence[TokenizedSample], count: int) -> list[list[TokenizedSample]]:
    """Share one step's samples among `count` devices: longest first, each to the one that has fewest tokens so far."""
    if count == 1:
        return [list(samples)]
    shares: list[list[TokenizedSample]] = [[] for _ in range(count)]
    tokens = [0] * count
    for sample in sorted(samples, key=lambda sample: len(sample.ids), reverse=True):
        number = tokens.index(min(tokens))
        shares[number].append(sample)
        tokens[number] += len(sample.ids)
    return shares


def micro_batches(samples: Sequence[TokenizedSample], limit: int) -> list[list[TokenizedSample]]:
    """Split one step's samples, longest first, into batches of at most `limit` tokens including padding.

    A sample longer than the limit is a batch of its own.
    """
    batches: list[list[TokenizedSample]] = []
    for sample in sorted(samples, key=lambda sample: len(sample.ids), reverse=True):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0].ids) <= limit:
            batches[-1].append(sample)
        else:
            batches.append([sample])
    return batches


def packed_batches(samples: Sequence[TokenizedSample], limit: int) -> list[list[TokenizedSample]]:
    """Split one step's samples into batches of at most `limit` tokens; each goes into the first that has room for it.

    A sample longer than the limit is a batch of its own.
    """
    batches: list[list[TokenizedSample]] = []
    room: list[int] = []
    for sample in sorted(samples, key=lambda sample: len(sample.ids), reverse=True):
        length = len(sample.ids)
        number = next((number for number, left in enumerate(room) if left >= length), None)
        if number is None:
            batches.append([sample])
            room.append(limit - length)
        else:
            batches[number].append(sample)
            room[number] -= length
    return batches


def tokens_of(batch: Sequence[TokenizedSample], packed: bool) -> int:
    """The tokens that a batch brings through the model, padding included."""
    lengths = [len(sample.ids) for sample in batch]
    return sum(lengths) if packed else len(lengths) * max(lengths)


def pack_batch(
    batch: Sequence[TokenizedSample], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Ids and labels, each of shape (1, all tokens), and what the model needs to tell the samples apart.

    A sample's first token is no target: the token before it is another sample's last.
    """
    ids = [token for sample in batch for token in sample.ids]
    labels = [label for sample in batch for label in (IGNORED, *sample.labels[1:])]
    arguments = document_arguments([len(sample.ids) for sample in batch], device)
    return torch.tensor([ids], device=device), torch.tensor([labels], device=device), arguments


def pad_batch(batch: Sequence[TokenizedSample], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, each of shape (samples, longest sample), padded on the right.

    No attention mask is needed: attention is causal, so no token sees the padding after it.
    """
    longest = max(len(sample.ids) for sample in batch)
    ids = [list(sample.ids) + [0] * (longest - len(sample.ids)) for sample in batch]
    labels = [list(sample.labels) + [IGNORED] * (longest - len(sample.labels)) for sample in batch]
    return torch.tensor(ids, device=device), torch.tensor(labels, device=device)
