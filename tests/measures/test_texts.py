"""The measures of texts."""

import pytest

from wmkml.measures.texts import distinct_n, repetition, words


def test_words_are_folded_and_without_punctuation() -> None:
    assert words("Die Rose, DIE Straße!") == ["die", "rose", "die", "strasse"]


def test_distinct_word_pairs() -> None:
    assert distinct_n(["a b a b"]) == pytest.approx(2 / 3)
    assert distinct_n(["a b", "a b"]) == pytest.approx(1 / 2)
    assert distinct_n(["one two three"]) == 1.0
    assert distinct_n(["a b c a b c a b c", "d e f"], first=3) == 1.0 > distinct_n(["a b c a b c a b c", "d e f"])
    assert distinct_n(["one two one"], n=1) == pytest.approx(2 / 3)


def test_pairs_do_not_reach_across_answers() -> None:
    assert distinct_n(["a", "b"]) == 0.0


def test_stammering() -> None:
    assert repetition(["fish fish fish"]) == pytest.approx(2 / 3)
    assert repetition(["fish is fish", "fish"]) == 0.0
    assert repetition([]) == 0.0
