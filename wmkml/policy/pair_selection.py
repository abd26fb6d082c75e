"""Choose the pairs a round trains on, as the original installation does or as the literature on model collapse does.

Older pairs can be replaced or accumulated, and human pairs mixed in.  Pure functions: the random source is an argument.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wmkml.config import Finetuning
from wmkml.policy.schedules import sample_count

Keeping = Literal["installation", "accumulate", "replace"]
"""How older pairs count: with a weight that falls with every iteration, as much as the newest, or not at all."""

HUMAN_ITERATION = -2
"""The iteration number of human pairs, which no iteration answered; below −1, the base model."""


@dataclass(frozen=True)
class Candidate:
    """A pair that a round may train on: its number, prompt, and the iteration that answered it (−1: the base model)."""

    pair: int
    prompt: str
    iteration: int


def dataset_pairs_wanted(considered: int, tuning: Finetuning, round_number: int) -> int:
    """The number of dataset pairs that `choose` takes if enough exist.

    Args:
        considered: the number of live pairs, counting at most `max_per_prompt` of each prompt.
    """
    return max(0, sample_count(tuning, round_number) - min(considered, tuning.live_samples_by_iteration))


def choose(
    live: Sequence[Candidate],
    datasets: Sequence[Candidate],
    tuning: Finetuning,
    round_number: int,
    random_source: random.Random,
    *,
    newest_first: bool = True,
) -> list[Candidate]:
    """Choose the `sample_count` samples of a round.

    1. Live pairs: at most `max_per_prompt` of each prompt, and of those at most `live_samples_by_iteration`; both
       drawn without replacement, a pair of iteration i with weight exp(i).
    2. Dataset pairs, each at most once, up to `sample_count`.
    3. If these are too few, further live pairs with the same weights, drawn with replacement from all of them.

    Args:
        newest_first: False: all pairs have the same weight.

    Returns:
        Fewer than `sample_count` only without live pairs; empty without any pair.
    """
    wanted = sample_count(tuning, round_number)
    by_prompt: dict[str, list[Candidate]] = {}
    for pair in live:
        by_prompt.setdefault(pair.prompt, []).append(pair)
    considered = [
        pair
        for same in by_prompt.values()
        for pair in _draw_without_replacement(same, tuning.max_per_prompt, random_source, newest_first)
    ]
    chosen = _draw_without_replacement(
        considered, min(tuning.live_samples_by_iteration, wanted), random_source, newest_first
    )
    chosen += random_source.sample(list(datasets), min(len(datasets), wanted - len(chosen)))
    if live and len(chosen) < wanted:
        newest = max(pair.iteration for pair in live)
        weights = [math.exp(pair.iteration - newest) if newest_first else 1.0 for pair in live]
        chosen += random_source.choices(live, weights, k=wanted - len(chosen))
    return chosen


def newest_only(pairs: Sequence[Candidate]) -> list[Candidate]:
    """The pairs answered by the newest iteration among them."""
    newest = max((pair.iteration for pair in pairs), default=HUMAN_ITERATION)
    return [pair for pair in pairs if pair.iteration == newest]


def with_human(
    chosen: Sequence[Candidate], human: Sequence[Candidate], share: float, random_source: random.Random
) -> list[Candidate]:
    """The samples with a random `share` (0 to 1) of them replaced by human pairs; these repeat if there are too few."""
    count = round(share * len(chosen)) if human else 0
    mixed = list(chosen)
    positions = random_source.sample(range(len(mixed)), count)
    drawn = random_source.sample(human, count) if len(human) >= count else random_source.choices(human, k=count)
    for position, pair in zip(positions, drawn, strict=True):
        mixed[position] = pair
    return mixed


def _draw_without_replacement(
    pairs: Sequence[Candidate], count: int, random_source: random.Random, newest_first: bool
) -> list[Candidate]:
    # Taking the largest of log-weight + Gumbel noise is the same as drawing one after another without replacement
    # (Vieira 2014, "Gumbel-max trick and weighted reservoir sampling"); the log-weight of exp(i) is i itself.
    if len(pairs) <= count:
        return list(pairs)
    noisy = [
        ((pair.iteration if newest_first else 0) - math.log(random_source.expovariate(1.0)), pair) for pair in pairs
    ]
    noisy.sort(key=lambda item: item[0], reverse=True)
    return [pair for _, pair in noisy[:count]]
