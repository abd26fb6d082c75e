"""Choose the pairs a round trains on, as the original installation does or as the literature on model collapse does.

Older pairs can be replaced or accumulated, and human pairs mixed in.  Pure functions: the random source is an argument.
"""

from __future__ import annotations

import math
import random
import unicodedata
from collections import Counter
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
    """A pair that a round may train on: its number, prompt, and the iteration that answered it (−1: the base model).

    `station`: whose visitor's prompt it answers; None: nobody's, as the seed's.
    """

    pair: int
    prompt: str
    iteration: int
    station: str | None = None


def dataset_pairs_wanted(considered: int, tuning: Finetuning, round_number: int) -> int:
    """The number of dataset pairs that `choose` takes if enough exist.

    Args:
        considered: the number of live pairs, counting at most `max_per_prompt` of each prompt.
    """
    return max(0, sample_count(tuning, round_number) - min(considered, tuning.live_samples_by_iteration))


def prompt_key(prompt: str) -> str:
    """What near-identical prompts have in common: their letters, in lower case; of a prompt without letters, itself.

    A changing digit, punctuation, spaces, accents and invisible characters make no other prompt.
    """
    letters = "".join(sign for sign in unicodedata.normalize("NFKD", prompt).casefold() if sign.isalpha())
    return letters or prompt


def considered_pairs(live: Sequence[Candidate], tuning: Finetuning, round_number: int) -> int:
    """How many live pairs a round considers: at most `max_per_prompt` of a prompt, and `station_share` of a station."""
    counts: Counter[tuple[str | None, str]] = Counter((pair.station, _key(pair.prompt, tuning)) for pair in live)
    of_prompt: Counter[str] = Counter()
    of_station: Counter[str | None] = Counter()
    for (station, key), count in counts.items():
        room = min(count, tuning.max_per_prompt - of_prompt[key])
        of_prompt[key] += room
        of_station[station] += room
    limit = _station_limit(live, tuning, sample_count(tuning, round_number))
    return sum(
        count if station is None or limit is None else min(count, limit) for station, count in of_station.items()
    )


def _key(prompt: str, tuning: Finetuning) -> str:
    return prompt_key(prompt) if tuning.similar_prompts_as_one else prompt


def _station_limit(live: Sequence[Candidate], tuning: Finetuning, wanted: int) -> int | None:
    """The most samples of one station; None: no limit.  Of two stations each may have half, whatever the share."""
    stations = {pair.station for pair in live} - {None}
    if tuning.station_share >= 1 or len(stations) < 2:
        return None
    return math.ceil(max(tuning.station_share, 1 / len(stations)) * wanted)


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

    With `station_share` no station has more than that share of them, where several stations have spoken; with
    `similar_prompts_as_one` near-identical prompts are one prompt.

    Args:
        newest_first: False: all pairs have the same weight.

    Returns:
        Fewer than `sample_count` only without live pairs; empty without any pair.
    """
    wanted = sample_count(tuning, round_number)
    by_prompt: dict[str, list[Candidate]] = {}
    for pair in live:
        by_prompt.setdefault(_key(pair.prompt, tuning), []).append(pair)
    considered = [
        pair
        for same in by_prompt.values()
        for pair in _draw_without_replacement(same, tuning.max_per_prompt, random_source, newest_first)
    ]
    limit = _station_limit(live, tuning, wanted)
    count = min(tuning.live_samples_by_iteration, wanted)
    if limit is None:
        chosen = _draw_without_replacement(considered, count, random_source, newest_first)
    else:
        in_order = _in_drawn_order(considered, random_source, newest_first)
        chosen = _within_limit(in_order, limit, Counter())[:count]
    chosen += random_source.sample(list(datasets), min(len(datasets), wanted - len(chosen)))
    if live and len(chosen) < wanted:
        newest = max(pair.iteration for pair in live)
        weights = [math.exp(pair.iteration - newest) if newest_first else 1.0 for pair in live]
        if limit is None:
            chosen += random_source.choices(live, weights, k=wanted - len(chosen))
        else:
            _fill_within_limit(chosen, live, weights, wanted, limit, random_source)
    return chosen


def _within_limit(pairs: Sequence[Candidate], limit: int, counts: Counter[str]) -> list[Candidate]:
    """The pairs without those beyond a station's limit; `counts`: what each station has already."""
    kept = []
    for pair in pairs:
        if pair.station is not None:
            if counts[pair.station] >= limit:
                continue
            counts[pair.station] += 1
        kept.append(pair)
    return kept


def _fill_within_limit(
    chosen: list[Candidate],
    live: Sequence[Candidate],
    weights: Sequence[float],
    wanted: int,
    limit: int,
    random_source: random.Random,
) -> None:
    """Draw further live pairs with replacement, none of a station that has its limit, until so many are chosen."""
    counts = Counter(pair.station for pair in chosen if pair.station is not None)
    weight_of = dict(zip((pair.pair for pair in live), weights, strict=True))
    while len(chosen) < wanted:
        allowed = [pair for pair in live if pair.station is None or counts[pair.station] < limit]
        if not allowed:
            return
        room = wanted - len(chosen)
        drawn = random_source.choices(allowed, [weight_of[pair.pair] for pair in allowed], k=room)
        chosen += _within_limit(drawn, limit, counts)


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
    if len(pairs) <= count:
        return list(pairs)
    return _in_drawn_order(pairs, random_source, newest_first)[:count]


def _in_drawn_order(pairs: Sequence[Candidate], random_source: random.Random, newest_first: bool) -> list[Candidate]:
    """All pairs in the order in which they would be drawn without replacement."""
    # Taking the largest of log-weight + Gumbel noise is the same as drawing one after another without replacement
    # (Vieira 2014, "Gumbel-max trick and weighted reservoir sampling"); the log-weight of exp(i) is i itself.
    noisy = [
        ((pair.iteration if newest_first else 0) - math.log(random_source.expovariate(1.0)), pair) for pair in pairs
    ]
    noisy.sort(key=lambda item: item[0], reverse=True)
    return [pair for _, pair in noisy]
