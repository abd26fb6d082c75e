"""Rolling measures: of each station's last tokens, not of what several stations are answered at the same time."""

from __future__ import annotations

import random

import pytest

from wmkml.measures.rolling import LAST_TOKENS, RollingMeasures, looping

SENTENCE = ["der", "wal", "singt", "tief", ",", "weil", "das", "meer", "so", "weit", "ist", "."]


def looping_by_hand(tokens: list[str]) -> float:
    """The definition, place by place."""
    repeats = set()
    for period in range(1, len(tokens)):
        for start in range(period, len(tokens)):
            end = start
            while end < len(tokens) and tokens[end] == tokens[end - period]:
                end += 1
            if end - start >= period:
                repeats |= set(range(start, end))
    return len(repeats) / len(tokens)


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ([], 0.0),
        (["so"], 0.0),
        (["so", "so", "so"], 2 / 3),
        (SENTENCE, 0.0),
        (SENTENCE * 2, 1 / 2),
        (SENTENCE * 3, 2 / 3),
        (["ja", "und", *SENTENCE, *SENTENCE], 12 / 26),
        (["a", "b", "a", "c", "a", "b"], 0.0),
        (["a", "b", "a", "c", "a", "b", "a", "c"], 1 / 2),
    ],
)
def test_looping_is_what_repeats_whole_what_stands_before_it(tokens: list[str], share: float) -> None:
    assert looping(tokens) == pytest.approx(share)


def test_looping_is_by_the_definition_in_whatever_comes() -> None:
    draw = random.Random(0)
    for _ in range(60):
        tokens = [draw.choice("abc"[: draw.randint(1, 3)]) for _ in range(draw.randint(1, 40))]
        assert looping(tokens) == looping_by_hand(tokens), tokens


def test_looping_reads_the_last_tokens_alone() -> None:
    assert looping(["x"] * 500 + [str(number) for number in range(LAST_TOKENS)]) == 0
    assert looping([str(number) for number in range(LAST_TOKENS)] + SENTENCE * 40) > 0.9


def say(rolling: RollingMeasures, station: str, text: str, probability: float = 0.5, entropy: float = 1.0) -> None:
    rolling.begin_answer(station)
    for word in text.split():
        rolling.add_token(station, f" {word}", probability, entropy)


def test_a_sentence_that_repeats_whole_loops_and_does_not_stammer() -> None:
    rolling = RollingMeasures()
    say(rolling, "a", "Das Meer ist weit. Das Meer ist weit. Das Meer ist weit.")
    values = rolling.take()
    assert values["rolling_looping"] == pytest.approx(2 / 3)
    assert values["rolling_repetition"] == 0
    say(rolling, "b", "Das das das Meer", 1.0, 0.0)
    assert rolling.take() == {
        "rolling_entropy": 0.0,
        "rolling_confidence": 1.0,
        "rolling_repetition": 2 / 4,
        "rolling_looping": 1 / 4,  # tokens are compared as they are written
    }


def test_stations_that_are_answered_at_the_same_time_are_no_text() -> None:
    rolling = RollingMeasures()
    for word in ("eins", "zwei", "drei", "vier"):
        for station in ("a", "b", "c"):
            rolling.add_token(station, word, 0.25, 2.0)
    assert rolling.take() == {
        "rolling_entropy": 2.0,
        "rolling_confidence": 0.25,
        "rolling_repetition": 0.0,
        "rolling_looping": 0.0,
    }


def test_the_mean_is_over_the_streams_that_flowed_since() -> None:
    rolling = RollingMeasures()
    say(rolling, "a", "ja", 0.2)
    say(rolling, "b", "nein doch oh", 0.8)
    assert rolling.take()["rolling_confidence"] == pytest.approx(0.5)
    assert rolling.take() == {}
    say(rolling, "b", "nein", 0.4)
    assert rolling.take()["rolling_confidence"] == pytest.approx((3 * 0.8 + 0.4) / 4)


def test_a_restarted_answer_and_a_forgotten_station_do_not_count() -> None:
    rolling = RollingMeasures()
    say(rolling, "a", "weg weg weg", 0.1)
    rolling.begin_answer("a", restarted=True)
    rolling.add_token("a", "da", 0.7, 1.0)
    say(rolling, "b", "weg weg", 0.1)
    rolling.forget("b")
    values = rolling.take()
    assert values["rolling_confidence"] == pytest.approx(0.7)
    assert values["rolling_looping"] == 0
