"""What the shipped understudy must reach, on phrasings it never read and on what a hundred visitors may type."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from wmkml.understudy.answering import answers, load
from wmkml.understudy.exchanges import conversations
from wmkml.understudy.reach import (
    GOALS,
    Ask,
    Prompt,
    facts,
    is_sentence,
    language_of,
    measured,
    names,
    unheard,
    visitors,
)
from wmkml.understudy.world import load_world

VISITORS = Path(__file__).parent / "fixtures" / "visitors.yaml"


@pytest.fixture(scope="module")
def ask() -> Ask:
    """The shipped model, greedy, in float32; each set of prompts is answered once."""
    model, tokenizer = load()
    known: dict[tuple[tuple[str, str], ...], list[str]] = {}

    def answered(asked: Sequence[tuple[str, str]]) -> list[str]:
        if tuple(asked) not in known:
            known[tuple(asked)] = answers(model, tokenizer, asked)
        return known[tuple(asked)]

    return answered


@pytest.mark.parametrize("measure", [measure for measure in GOALS if measure != "facts"])
@pytest.mark.parametrize("name", ["unheard", "visitors"])
def test_answers_reach_their_goals(ask: Ask, name: str, measure: str) -> None:
    prompts = unheard() if name == "unheard" else visitors(VISITORS)
    assert len(prompts) >= 100
    assert sum(bool(one.unknown) for one in prompts) >= 8
    assert measured(ask, prompts)[measure] >= GOALS[measure]


def test_nine_of_ten_facts_are_right_in_phrasings_it_never_read(ask: Ask) -> None:
    assert facts(ask, 600) >= GOALS["facts"]


def test_hardly_a_visitors_prompt_is_in_the_training_text() -> None:
    typed = {one.prompt.casefold() for one in visitors(VISITORS)}
    read = {
        message["content"].casefold()
        for conversation, _ in zip(conversations(1), range(5000), strict=False)
        for message in conversation.messages
        if message["role"] == "user"
    }
    assert len(read) > 3000
    # Nobody can help saying hello, or asking who is there.
    assert len(typed & read) <= 10, typed & read


def test_the_measures_tell_good_answers_from_bad_ones() -> None:
    prompts = [Prompt("Wo lebt der Bär?", "de", "bear"), Prompt("Is a dog a quirl?", "en", "dog", "quirl")]
    good = measured(lambda asked: ["Der Bär lebt im Wald.", "A dog is an animal and no quirl."], prompts)
    assert set(good.values()) == {1.0}
    bad = measured(lambda asked: ["the house house stands", "the house house stands"], prompts)
    assert [bad[name] for name in ("language", "sentences", "names", "unknown", "different", "own")] == [
        *(0.5, 0.0, 0.0, 0.0, 0.0, 0.5)
    ]
    nonsense = measured(lambda asked: ["Der Bär grumst im Wuldenfrack.", "A dog is a florpt."], prompts)
    assert nonsense["real_words"] < 0.8


def test_an_answer_names_a_concept_with_a_word_not_with_some_letters_of_one() -> None:
    by_id = {concept.id: concept for concept in load_world()}
    egg, bear, whale = by_id["egg"], by_id["bear"], by_id["whale"]
    assert names("Das Ei zerbricht.", egg, "de") and not names("Das ist ein Wort.", egg, "de")
    assert names("Bären schlafen.", bear, "de") and not names("Es ist schwer zu ertragen.", bear, "de")
    assert names("The whales sing.", whale, "en") and not names("I hear the sea.", by_id["ear"], "en")
    # A broken piece of the visitor's word is no word.
    asked = [Prompt("Wer baut den Schneemann?", "de"), Prompt("Wer bist du?", "de")]
    assert measured(lambda asked: ["Den Schneem baut niemand.", "Ich bin da."], asked)["real_words"] == 4 / 5


def test_sentences_and_languages() -> None:
    assert is_sentence("Ich bin eine Sprache.") and is_sentence("„Gut“, sagt er.")
    assert not any(is_sentence(text) for text in ("", "Ja.", "ein Haus.", "Das ist", "Das das Haus ist alt."))
    assert (language_of("Der Hund schläft unter dem Tisch."), language_of("The dog sleeps under the table.")) == (
        "de",
        "en",
    )
