"""The processes (ranks) that compute one optimizer step together, as the training loop sees them.

Every rank knows all samples of a step and takes its share of them; the gradients of all are summed once, after the last
micro-batch, and divided by the tokens of all (`wmkml.training.loss` does that for each part).  So the step is the one that
a single process would take, but for the order of the sums, and weights and optimizer stay the same on every rank.

torch's DistributedDataParallel is not used: it averages over ranks instead of over tokens, sums during the backward pass,
and waits for ever for a rank that ran out of memory in it.  A LoRA's gradients are a few megabytes; summing them afterwards
takes about a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import distributed

from wmkml.training.samples import IGNORED, TokenizedSample

BUCKET = 2**24
"""Numbers that are summed over the ranks at once: 64 MiB in float32, so that a model trained whole is not copied whole."""


@dataclass(frozen=True)
class RankGroup:
    """This process among those that train together.  Every rank calls the same methods in the same order.

    Attributes:
        rank: of this process, from 0; rank 0 alone reports and writes.
        size: number of ranks; with 1 nothing is sent anywhere.
        lockstep: each rank holds a part of the model, so all must go through it at the same time and equally often.
    """

    rank: int = 0
    size: int = 1
    lockstep: bool = False

    def own_batches(self, of_ranks: Sequence[list[list[TokenizedSample]]]) -> list[list[TokenizedSample]]:
        """This rank's micro-batches, of those of all ranks; in lockstep with idle ones, to be as many as the others'."""
        own = of_ranks[self.rank]
        if not self.lockstep:
            return own
        most = max(len(batches) for batches in of_ranks)
        shortest = min(
            (sample for batches in of_ranks for batch in batches for sample in batch),
            key=lambda sample: len(sample.ids),
        )
        idle = TokenizedSample(shortest.ids, (IGNORED,) * len(shortest.ids))
        return own + [[idle]] * (most - len(own))

    def may_continue(self, wanted: bool) -> bool:
        """Whether this rank goes on with its next micro-batch, `wanted` being its own opinion; in lockstep that of all."""
        return not self.most(int(not wanted))[0] if self.lockstep else wanted

    def most(self, *values: int) -> tuple[int, ...]:
        """For each value the largest that any rank has."""
        if self.size == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.int64)
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
        return tuple(numbers.tolist())

    def sum(self, value: float) -> float:
        """The sum of all ranks' values."""
        if self.size == 1:
            return value
        numbers = torch.tensor([value], dtype=torch.float64)
        distributed.all_reduce(numbers)
        return float(numbers)

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace the gradient of every parameter by the sum of all ranks' gradients; where a rank has none it adds zero."""
        if self.size == 1:
            return
        for bucket in _buckets(parameters):
            gradients = [
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in bucket
            ]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            distributed.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for parameter, gradient, part in zip(bucket, gradients, parts, strict=True):
                parameter.grad = part.view_as(gradient).clone()

    def unify(self, parameters: Sequence[torch.nn.Parameter]) -> float:
        """Give all ranks the weights of rank 0; returns the largest difference that there was on any of them."""
        largest = 0.0
        if self.size == 1:
            return largest
        with torch.no_grad():
            for bucket in _buckets(parameters):
                own = torch.cat([parameter.flatten() for parameter in bucket])
                first = own.clone()
                distributed.broadcast(first, 0)
                largest = max(largest, float((first - own).abs().max()))
                parts = torch.split(first, [parameter.numel() for parameter in bucket])
                for parameter, part in zip(bucket, parts, strict=True):
                    parameter.copy_(part.view_as(parameter))
        numbers = torch.tensor([largest], dtype=torch.float64)
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
        return float(numbers)


ALONE = RankGroup()
"""A training in one process."""


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    bucket: list[torch.nn.Parameter] = []
    for parameter in parameters:
        if bucket and (
            sum(other.numel() for other in bucket) + parameter.numel() > BUCKET or parameter.dtype != bucket[0].dtype
        ):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
