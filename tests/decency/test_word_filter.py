"""The filter of words: what it finds, what it leaves alone, and that a text may come in any pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmkml.decency.word_filter import MAX_SPAN, TokenFilter, WordFilter

WORDS = WordFilter(["quappe", "quappen", "quark", "esst", "mos", "geh weg", "grus", "aas"], ["knurz"])
ALPHABET = "quapenrkgtwesmozab QUAPE..-*@3|5'…\u0301\u200bäß1!\n"


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(places)]


def filtered(pieces: list[str], words: WordFilter = WORDS) -> list[tuple[str, int]]:
    """The visible text of each piece, with its number."""
    tokens = TokenFilter[int](words)
    released = [shown for number, piece in enumerate(pieces) for shown in tokens.push(piece, number)]
    return released + tokens.finish()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Eine Quappe.", "Eine …."),
        ("QUAPPEN", "…"),
        ("Quáppe und Qu4pp3!", "… und …!"),
        ("q u a p p e", "…"),
        ("Q.u.a.p.p.e, Qu-appe", "…, …"),
        ("Quaaaappe", "…"),
        ("Qua\u00adppe und Qua\u200bppe", "… und …"),
        ("Quа\u0440\u0440е", "…"),  # four letters of it are Cyrillic
        ("Qu*ppe", "…"),
        ("ß eßt: Eßt!", "ß …: …!"),
        ("Knurzige Knurz", "… …"),
        ("Nun geh   weg!", "Nun …!"),
        ("geh\nweg", "…"),
        ("Ge\u0308h weg", "…"),
    ],
)
def test_entries_are_found_in_obvious_disguises(text: str, shown: str) -> None:
    assert WORDS.apply(text) == shown
    assert WORDS.matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Kaulquappe, Quappenteich, Quappenes",  # other words
        "Das Moos, die Moose",  # a letter twice is another word
        "bin ich da, quer um A as",  # letters of several words
        "Gr us, g rus",
        "geh bitte weg",
        "Aufgabe 445, A55, 5 x 5",
        "gru's",
        "**fett** und Wort*innen",
        "Qu…ppe",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert WORDS.apply(text) == text
    assert not WORDS.matches(text)


@settings(max_examples=400, deadline=None)
@given(st.text(ALPHABET, max_size=60), st.lists(st.integers(0, 200), max_size=12))
def test_however_a_text_is_cut_the_outcome_is_the_same(text: str, cuts: list[int]) -> None:
    pieces = pieces_of(text, cuts)
    released = filtered(pieces)
    assert "".join(shown for shown, _ in released) == WORDS.apply(text)
    assert [number for _, number in released] == list(range(len(pieces)))


SEPARATED = st.sampled_from(["", ".", "-", "\u200b", "_"])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["quappe", "quark", "geh weg", "knurz"]),
    st.lists(SEPARATED, min_size=8, max_size=8),
    st.lists(st.integers(0, 100), max_size=8),
    st.sampled_from(["", "Die ", "- "]),
    st.sampled_from(["", " da", "!"]),
)
def test_nothing_of_an_entry_ever_leaves(
    entry: str, separators: list[str], cuts: list[int], before: str, after: str
) -> None:
    disguised = "".join(letter + sign for letter, sign in zip(entry[:-1], separators, strict=False)) + entry[-1]
    shown = [text for text, _ in filtered(pieces_of(before + disguised + after, cuts))]
    assert "".join(shown) == before + "…" + after
    assert not set("".join(shown).removeprefix(before).removesuffix(after)) & set(entry)


CLEAN = st.text("bcdfhijlvxyz ", max_size=60)
"""No entry begins with these letters."""


@settings(max_examples=200, deadline=None)
@given(CLEAN, st.lists(st.integers(0, 200), max_size=12))
def test_clean_text_passes_unchanged_and_at_once(text: str, cuts: list[int]) -> None:
    tokens = TokenFilter[None](WORDS)
    for piece in pieces_of(text, cuts):
        assert tokens.push(piece, None) == [(piece, None)]
    assert tokens.finish() == []


def test_text_is_held_back_no_longer_than_it_may_be_an_entry() -> None:
    tokens = TokenFilter[None](WORDS)
    shown = ["".join(text for text, _ in tokens.push(letter, None)) for letter in "Zum Quader, Quappe da"]
    assert shown[:4] == list("Zum ")
    assert shown[4:7] == ["", "", ""] and shown[7] == "Quad"
    assert "".join(shown[8:12]) == "er, "
    assert shown[12:18] == [""] * 6 and shown[18] == "… "
    assert shown[19:] == list("da")


def test_what_is_longer_than_any_disguise_is_not_held_back() -> None:
    tokens = TokenFilter[None](WORDS)
    shown = "".join(text for letter in "q" * (MAX_SPAN + 10) for text, _ in tokens.push(letter, None))
    assert set(shown) == {"q"}


def test_without_entries_nothing_is_changed_or_held() -> None:
    nothing = WordFilter(())
    assert not nothing and nothing.apply("Quappe") == "Quappe" and not nothing.matches("Quappe")
    tokens = TokenFilter[str](nothing)
    assert tokens.push("Quap", "a") == [("Quap", "a")]
