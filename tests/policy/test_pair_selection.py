"""Choice of a round's samples, and the schedules of learning rate and sample count, as in the original."""

import math
import random
from collections import Counter

import pytest

from wmkml.config import Finetuning, Settings
from wmkml.policy.pair_selection import (
    HUMAN_ITERATION,
    Candidate,
    choose,
    considered_pairs,
    dataset_pairs_wanted,
    newest_only,
    prompt_key,
    with_human,
)
from wmkml.policy.schedules import learning_rate, sample_count


def tuning(**changes: object) -> Finetuning:
    return Settings.model_validate({"finetuning": changes}).finetuning


def live_pairs(prompts: int, each: int, iteration: int = -1) -> list[Candidate]:
    return [
        Candidate(pair=number * each + repeat, prompt=f"prompt {number}", iteration=iteration)
        for number in range(prompts)
        for repeat in range(each)
    ]


def dataset_pairs(count: int) -> list[Candidate]:
    return [Candidate(pair=10_000 + number, prompt=f"dataset {number}", iteration=-1) for number in range(count)]


def test_the_learning_rate_falls_and_never_below_zero() -> None:
    original = tuning()
    assert [learning_rate(original, k) for k in (0, 1, 8)] == pytest.approx([0.0015, 0.0014, 0.0007])
    assert learning_rate(original, 15) == 0.0
    assert learning_rate(original, 99) == 0.0


def test_samples_grow_with_every_round() -> None:
    assert [sample_count(tuning(), k) for k in (0, 1, 8)] == [60, 75, 180]


def test_live_pairs_come_first_and_at_most_so_many() -> None:
    chosen = choose(live_pairs(100, 1), dataset_pairs(500), tuning(), 0, random.Random(1))
    assert len(chosen) == 60
    assert sum(candidate.pair < 10_000 for candidate in chosen) == 40
    assert len({candidate.pair for candidate in chosen}) == 60


def test_at_most_so_many_live_pairs_of_one_prompt() -> None:
    pairs = live_pairs(1, 100) + [Candidate(pair=5000 + number, prompt="other", iteration=-1) for number in range(3)]
    chosen = choose(pairs, dataset_pairs(500), tuning(), 0, random.Random(1))
    prompts = Counter(candidate.prompt for candidate in chosen)
    assert prompts["prompt 0"] == 20
    assert prompts["other"] == 3
    assert len(chosen) == 60


def test_datasets_fill_the_round_up_to_its_samples() -> None:
    chosen = choose(live_pairs(5, 1), dataset_pairs(500), tuning(), 3, random.Random(1))
    assert len(chosen) == 105
    assert sum(candidate.pair >= 10_000 for candidate in chosen) == 100


def test_where_datasets_are_short_live_pairs_repeat() -> None:
    chosen = choose(live_pairs(1, 6), dataset_pairs(10), tuning(), 0, random.Random(1))
    counts = Counter(candidate.pair for candidate in chosen)
    assert len(chosen) == 60
    assert sum(counts[candidate.pair] for candidate in dataset_pairs(10)) == 10
    assert all(counts[pair] >= 1 for pair in range(6))
    assert sum(counts[pair] for pair in range(6)) == 50


def test_more_live_pairs_are_of_all_there_are() -> None:
    chosen = choose(live_pairs(1, 100), [], tuning(), 8, random.Random(1))
    assert len(chosen) == 180
    assert len({candidate.pair for candidate in chosen}) > 20  # beyond max_per_prompt


def test_without_live_pairs_there_are_only_datasets_and_without_any_there_is_nothing() -> None:
    assert len(choose([], dataset_pairs(10), tuning(), 0, random.Random(1))) == 10
    assert choose([], [], tuning(), 0, random.Random(1)) == []


def test_newer_answers_weigh_e_times_as_much() -> None:
    pair = [Candidate(0, "a", 3), Candidate(1, "b", 4)]
    single = tuning(live_samples_by_iteration=1, samples_by_iteration=1, sample_increase_by_iteration=0)
    drawn = Counter(choose(pair, [], single, 0, random.Random(seed))[0].pair for seed in range(4000))
    assert drawn[1] / 4000 == pytest.approx(math.e / (1 + math.e), abs=0.03)


def test_newer_answers_weigh_more_within_a_prompt_too() -> None:
    pair = [Candidate(0, "same", 3), Candidate(1, "same", 4)]
    single = tuning(
        max_per_prompt=1, live_samples_by_iteration=5, samples_by_iteration=1, sample_increase_by_iteration=0
    )
    drawn = Counter(choose(pair, [], single, 0, random.Random(seed))[0].pair for seed in range(4000))
    assert drawn[1] / 4000 == pytest.approx(math.e / (1 + math.e), abs=0.03)


def test_repeated_live_pairs_are_weighted_and_do_not_overflow() -> None:
    pairs = [Candidate(0, "old", 0), Candidate(1, "new", 5000)]
    chosen = choose(pairs, [], tuning(live_samples_by_iteration=2), 0, random.Random(1))
    counts = Counter(candidate.pair for candidate in chosen)
    assert counts == {0: 1, 1: 59}


def test_the_same_seed_chooses_the_same() -> None:
    arguments = (live_pairs(30, 4), dataset_pairs(50), tuning(), 2)
    assert choose(*arguments, random.Random(7)) == choose(*arguments, random.Random(7))
    assert choose(*arguments, random.Random(7)) != choose(*arguments, random.Random(8))


@pytest.mark.parametrize("live", [live_pairs(0, 0), live_pairs(1, 6), live_pairs(1, 100), live_pairs(100, 1)])
@pytest.mark.parametrize("samples", [10, 60])
def test_so_many_dataset_pairs_are_wanted_as_are_taken(live: list[Candidate], samples: int) -> None:
    finetuning = tuning(samples_by_iteration=samples)
    chosen = choose(live, dataset_pairs(500), finetuning, 0, random.Random(1))
    counts = Counter(candidate.prompt for candidate in live).values()
    considered = sum(min(count, finetuning.max_per_prompt) for count in counts)
    assert dataset_pairs_wanted(considered, finetuning, 0) == sum(candidate.pair >= 10_000 for candidate in chosen)


def test_without_a_preference_all_iterations_weigh_the_same() -> None:
    pairs = [candidate for k in range(4) for candidate in live_pairs(100, 1, iteration=k)]
    wide = tuning(samples_by_iteration=300, live_samples_by_iteration=40, max_per_prompt=4)
    equal = Counter(
        candidate.iteration for candidate in choose(pairs, [], wide, 0, random.Random(3), newest_first=False)
    )
    assert all(50 <= equal[k] <= 100 for k in range(4))
    newest = Counter(candidate.iteration for candidate in choose(pairs, [], wide, 0, random.Random(3)))
    assert newest[3] > 150


def test_the_newest_alone() -> None:
    pairs = live_pairs(3, 2, iteration=0) + live_pairs(2, 2, iteration=4)
    assert newest_only(pairs) == live_pairs(2, 2, iteration=4)
    assert newest_only([]) == []


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.2, 12), (0.5, 30), (1.0, 60)])
def test_a_share_is_human_and_repeats_only_where_there_are_too_few(share: float, expected: int) -> None:
    chosen = live_pairs(60, 1)
    human = [Candidate(20_000 + number, f"human {number}", HUMAN_ITERATION) for number in range(40)]
    mixed = with_human(chosen, human, share, random.Random(1))
    human_pairs = [candidate.pair for candidate in mixed if candidate.iteration == HUMAN_ITERATION]
    assert len(mixed) == 60 and len(human_pairs) == expected
    assert len(set(human_pairs)) == expected or expected > len(human)
    assert with_human(chosen, [], share, random.Random(1)) == chosen


# --- one station beside others -------------------------------------------------------------------------------------


def flooded(flood: int, others: int, each: int = 7) -> list[Candidate]:
    """The seed, one station's many prompts that differ in a digit, and two pairs of each other station's prompt."""
    seed = [Candidate(number, "seed", -1) for number in range(6)]
    flooder = [
        Candidate(100 + number * each + echo, f"Kauf mich, {number}!", -1, "flooder")
        for number in range(flood)
        for echo in range(each)
    ]
    rest = [
        Candidate(50_000 + number * each + echo, f"Wort {chr(97 + number)}", -1, f"station {number}")
        for number in range(others)
        for echo in range(each)
    ]
    return seed + flooder + rest


def of_stations(chosen: list[Candidate]) -> Counter[str | None]:
    return Counter(candidate.station for candidate in chosen)


@pytest.mark.parametrize("seed", range(5))
def test_a_changing_digit_makes_no_other_prompt_and_one_station_no_round(seed: int) -> None:
    """What one of our installations learns while a station floods it: with the original's settings it is all hers."""
    live, source = flooded(200, 9), random.Random(seed)
    originals = choose(live, [], tuning(), 0, source)
    assert of_stations(originals)["flooder"] > 50
    with_share = tuning(similar_prompts_as_one=True, station_share=0.5)
    chosen = choose(live, [], with_share, 0, source)
    assert len(chosen) == 60 and of_stations(chosen)["flooder"] <= 30
    folded = choose(live, [], tuning(similar_prompts_as_one=True), 0, source)[:40]  # before the round is filled up
    assert of_stations(folded)["flooder"] <= 20


def test_the_share_holds_where_a_round_is_filled_up_with_repeats() -> None:
    chosen = choose(flooded(200, 1, each=1), [], tuning(station_share=0.3), 0, random.Random(1))
    # Of two stations each may have half.
    assert len(chosen) == 60 and of_stations(chosen)["flooder"] <= 30
    chosen = choose(flooded(200, 4, each=1), dataset_pairs(5), tuning(station_share=0.3), 0, random.Random(1))
    assert len(chosen) == 60 and max(of_stations(chosen)[f"station {number}"] for number in range(4)) <= 18
    assert of_stations(chosen)["flooder"] <= 18


def test_one_visitor_alone_has_the_whole_round() -> None:
    live = flooded(50, 0)
    with_share, original = tuning(station_share=0.5), tuning()
    for number in range(3):
        assert choose(live, [], with_share, number, random.Random(number)) == choose(
            live, [], original, number, random.Random(number)
        )


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("Hund 1?", "hund  2!", True),
        ("Über", "u\u0308ber", True),
        ("a\u200bb", "ab", True),
        ("Hund", "Katze", False),
        ("1", "2", False),
        ("東京1", "東京2", True),
    ],
)
def test_which_prompts_are_near_identical(first: str, second: str, alike: bool) -> None:
    assert (prompt_key(first) == prompt_key(second)) is alike


def test_datasets_top_up_what_a_flood_does_not_count_for() -> None:
    live = flooded(200, 0)
    with_share = tuning(similar_prompts_as_one=True)
    assert considered_pairs(live, tuning(), 0) == 6 + 200 * 7
    assert considered_pairs(live, with_share, 0) == 6 + 20
    shared = tuning(station_share=0.5)
    assert considered_pairs(flooded(200, 1), shared, 0) == 6 + 30 + 7
