"""How a model takes to text that people wrote: its loss on it, and the probability that it still gives to rare words.

Both are read in one pass over the same pairs, with the model's own probabilities at every token of the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from wmkml.training.batching import micro_batches, pad_batch
from wmkml.training.samples import IGNORED, TokenizedSample

TAIL = 0.1
"""Share of human tokens that count as the tail: those of the rarest kinds."""


@dataclass(frozen=True)
class HumanTextReading:
    """`loss`: mean over the answers' tokens, in nats.  `tail_mass`: mean probability of all rare tokens together, 0 to 1."""

    loss: float
    tail_mass: float


def rare_tokens(samples: Sequence[TokenizedSample], tail: float = TAIL) -> tuple[int, ...]:
    """The kinds of tokens that are rarest in these targets and together make up at most `tail` of them.

    Equally frequent kinds are taken in the order of their ids, so that the same text gives the same tokens.
    """
    counts = Counter(label for sample in samples for label in sample.labels[1:] if label != IGNORED)
    room, rare = tail * counts.total(), []
    for token, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        if count > room:
            break
        room -= count
        rare.append(token)
    return tuple(rare)


@torch.no_grad()
def read_human_text(
    model: torch.nn.Module,
    samples: Sequence[TokenizedSample],
    rare: Sequence[int],
    limit: int,
    device: torch.device,
    autocast: torch.dtype | None,
) -> HumanTextReading | None:
    """Read the targets of the samples with the model; None without any target.

    Args:
        rare: ids of the tail's tokens, as `rare_tokens` of the same samples gives them.
        limit: most tokens per forward pass, padding included.
        autocast: data type of the matrix products; None: that of the weights.
    """
    targets = sum(sample.targets for sample in samples)
    if not targets:
        return None
    model.eval()
    loss = mass = 0.0
    columns = torch.tensor(list(rare), dtype=torch.long, device=device)
    for batch in micro_batches(samples, limit):
        ids, labels = pad_batch(batch, device)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            logits = model(input_ids=ids, use_cache=False).logits
        wanted = labels[:, 1:] != IGNORED
        rows = logits[:, :-1][wanted].float()
        loss += float(cross_entropy(rows, labels[:, 1:][wanted], reduction="sum"))
        mass += float(torch.softmax(rows, dim=-1)[:, columns].sum())
    return HumanTextReading(loss / targets, mass / targets)
