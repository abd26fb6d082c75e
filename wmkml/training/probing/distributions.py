"""What the distributions say that a model gives to the next token of a text: sums over tokens, from logits.

Everything is of the whole vocabulary.  Logits are made float32 a part at a time, as in `wmkml.training.loss`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wmkml.training.loss import PART_OF_CPU, PART_OF_GPU

TOP = 20
"""Beyond so many likeliest tokens lies what inference does not tell of a distribution."""

LEAST = -1e4
"""Stands for the logarithm of 0, which a model may give to tokens that its vocabulary only reserves."""


@dataclass(frozen=True)
class DistributionSums:
    """Sums over predicted tokens; logarithms are natural.

    Attributes:
        tokens: how many they are.
        loss: of −log p(token).
        entropy: of the distributions' entropies.
        top: of the likeliest token's probability.
        outside: of the probability of all but the TOP likeliest tokens.
        divergence: of KL(model ‖ base), which is Σ p·(log p − log q) with q the base model's.
    """

    tokens: int = 0
    loss: float = 0.0
    entropy: float = 0.0
    top: float = 0.0
    outside: float = 0.0
    divergence: float = 0.0

    def __add__(self, other: DistributionSums) -> DistributionSums:
        return DistributionSums(
            self.tokens + other.tokens,
            self.loss + other.loss,
            self.entropy + other.entropy,
            self.top + other.top,
            self.outside + other.outside,
            self.divergence + other.divergence,
        )


def distribution_sums(logits: torch.Tensor, tokens: torch.Tensor, of_base: torch.Tensor | None) -> DistributionSums:
    """Sum up the distributions of logits.

    Args:
        logits: predicted tokens × vocabulary, in any float format.
        tokens: those that came, of shape (predicted tokens,).
        of_base: the base model's logits or log-probabilities of the same tokens; None: these are the base model's own.
    """
    count, vocabulary = logits.shape
    part = max(1, (PART_OF_CPU if logits.device.type == "cpu" else PART_OF_GPU) // vocabulary)
    total = torch.zeros(5, dtype=torch.float64, device=logits.device)
    for first in range(0, count, part):
        values = _logarithms(logits[first : first + part])
        probabilities = values.exp()
        loss = -values.gather(1, tokens[first : first + part, None])
        entropy = -torch.linalg.vecdot(probabilities, values)
        top, places = probabilities.topk(min(TOP, vocabulary), dim=-1)
        if of_base is None:
            divergence = torch.zeros_like(entropy)
        else:
            divergence = torch.linalg.vecdot(probabilities, values.sub_(_logarithms(of_base[first : first + part])))
        # Not 1 less the top: of a sure model nothing but the rounding would be left.
        outside = probabilities.scatter_(1, places, 0.0).sum(dim=-1)
        parts = (loss, entropy, top[:, 0], outside, divergence)
        total += torch.stack([quantity.double().sum() for quantity in parts])
    loss_sum, entropy_sum, top_sum, outside_sum, divergence_sum = total.tolist()
    # Rounding can make the least divergence negative.
    return DistributionSums(count, loss_sum, entropy_sum, top_sum, outside_sum, _not_negative(divergence_sum))


def _not_negative(value: float) -> float:
    return 0.0 if value < 0.0 else value  # NaN stays NaN


def _logarithms(logits: torch.Tensor) -> torch.Tensor:
    """Logarithms of probabilities, none below LEAST: what has probability 0 then adds 0 to an expected value, and not NaN."""
    return torch.log_softmax(logits, dim=-1, dtype=torch.float32).clamp_(min=LEAST)
