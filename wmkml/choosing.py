"""Which pairs a round trains on, and the schedules of learning rate and samples: the original installation's way.

Beside it the literature's ways, for the laboratory: old pairs replaced or accumulated, human text mixed in.
Pure functions: randomness comes in as an argument.  Knows nothing of where pairs come from or go to.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wmkml.config import Finetuning

Keeping = Literal["installation", "accumulate", "replace"]
"""What becomes of older pairs: they weigh less with every iteration, or as much as the newest, or they are left out."""

NOBODY = -2
"""The iteration of an answer that the dying model did not give."""


@dataclass(frozen=True)
class Candidate:
    """A pair that a round may train on, and the iteration that answered it (−1: the base model)."""

    pair: int
    prompt: str
    iteration: int


def learning_rate(tuning: Finetuning, round_number: int) -> float:
    """The learning rate a round begins with; never below zero."""
    return max(0.0, tuning.learning_rate + round_number * tuning.learning_rate_increase)


def sample_count(tuning: Finetuning, round_number: int) -> int:
    """How many samples a round trains on."""
    return tuning.samples_by_iteration + round_number * tuning.sample_increase_by_iteration


def datasets_wanted(considered: int, tuning: Finetuning, round_number: int) -> int:
    """How many dataset pairs `choose` would take, were there enough of them.

    Args:
        considered: how many live pairs there are, counting at most `max_per_prompt` of each prompt.
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
    """The samples of a round, `sample_count` of them where there are pairs at all.

    1. Live pairs: at most `max_per_prompt` of each prompt, and of those at most `live_samples_by_iteration`; both
       drawn without repeats, a pair of iteration i with weight exp(i).
    2. Dataset pairs, each at most once, until the round has its samples.
    3. Where these are too few, more live pairs, of all there are, with the same weights; they may repeat.

    Args:
        newest_first: false: all pairs weigh the same, whichever iteration answered.

    Returns fewer than `sample_count` only when there is no live pair, and none when there is no pair at all.
    """
    wanted = sample_count(tuning, round_number)
    by_prompt: dict[str, list[Candidate]] = {}
    for one in live:
        by_prompt.setdefault(one.prompt, []).append(one)
    considered = [
        one
        for same in by_prompt.values()
        for one in _without_repeats(same, tuning.max_per_prompt, random_source, newest_first)
    ]
    chosen = _without_repeats(considered, min(tuning.live_samples_by_iteration, wanted), random_source, newest_first)
    chosen += random_source.sample(list(datasets), min(len(datasets), wanted - len(chosen)))
    if live and len(chosen) < wanted:
        newest = max(one.iteration for one in live)
        weights = [math.exp(one.iteration - newest) if newest_first else 1.0 for one in live]
        chosen += random_source.choices(live, weights, k=wanted - len(chosen))
    return chosen


def newest_only(pairs: Sequence[Candidate]) -> list[Candidate]:
    """The pairs of the newest iteration that answered any of them."""
    newest = max((one.iteration for one in pairs), default=NOBODY)
    return [one for one in pairs if one.iteration == newest]


def with_human(
    chosen: Sequence[Candidate], human: Sequence[Candidate], share: float, random_source: random.Random
) -> list[Candidate]:
    """The samples with a share (0 to 1) of them, drawn at random, replaced by human pairs; these repeat if too few."""
    count = round(share * len(chosen)) if human else 0
    mixed = list(chosen)
    places = random_source.sample(range(len(mixed)), count)
    drawn = random_source.sample(human, count) if len(human) >= count else random_source.choices(human, k=count)
    for place, one in zip(places, drawn, strict=True):
        mixed[place] = one
    return mixed


def _without_repeats(
    pairs: Sequence[Candidate], count: int, random_source: random.Random, newest_first: bool
) -> list[Candidate]:
    # Adding Gumbel noise to log-weights and taking the largest is drawing one after another without putting back
    # (Vieira 2014, "Gumbel-max trick and weighted reservoir sampling"); the log-weight of exp(i) is i itself.
    if len(pairs) <= count:
        return list(pairs)
    noisy = [((one.iteration if newest_first else 0) - math.log(random_source.expovariate(1.0)), one) for one in pairs]
    noisy.sort(key=lambda item: item[0], reverse=True)
    return [one for _, one in noisy[:count]]
