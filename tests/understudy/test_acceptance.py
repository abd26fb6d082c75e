"""The acceptance of the shipped understudy: which goals it must reach on phrasings it never read and on what a hundred visitors may type."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from wmkml.understudy.acceptance import (
    GOALS,
    AcceptancePrompt,
    AnswerFunction,
    facts_share,
    held_out_prompts,
    is_sentence,
    language_of,
    load_prompts,
    measure_goals,
    names_concept,
)
from wmkml.understudy.answering import answer_all, load_model
from wmkml.understudy.exchanges import conversations
from wmkml.understudy.world import load_world

VISITORS = Path(__file__).parent.parent / "fixtures" / "visitors.yaml"


@pytest.fixture(scope="module")
def ask() -> AnswerFunction:
    """The shipped model, greedy, in float32; each set of prompts is answered once."""
    model, tokenizer = load_model()
    answers: dict[tuple[tuple[str, str], ...], list[str]] = {}

    def answer_once(prompts: Sequence[tuple[str, str]]) -> list[str]:
        if tuple(prompts) not in answers:
            answers[tuple(prompts)] = answer_all(model, tokenizer, prompts)
        return answers[tuple(prompts)]

    return answer_once


@pytest.mark.slow
@pytest.mark.parametrize("measure", [measure for measure in GOALS if measure != "facts"])
@pytest.mark.parametrize("name", ["unheard", "visitors"])
def test_answers_reach_their_goals(ask: AnswerFunction, name: str, measure: str) -> None:
    prompts = held_out_prompts() if name == "unheard" else load_prompts(VISITORS)
    assert len(prompts) >= 100
    assert sum(bool(prompt.unknown) for prompt in prompts) >= 8
    assert measure_goals(ask, prompts)[measure] >= GOALS[measure]


# Phrasings of one question may be answered alike, and `unheard` has many of them.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("unheard", 0.78), ("visitors", 0.92)])
def test_hardly_an_answer_is_given_twice(ask: AnswerFunction, name: str, least: float) -> None:
    prompts = held_out_prompts() if name == "unheard" else load_prompts(VISITORS)
    assert measure_goals(ask, prompts)["own"] >= least


@pytest.mark.parametrize("number", [100, 767])
def test_five_in_a_hundred_alike_miss_the_goal(number: int) -> None:
    prompts = [AcceptancePrompt("Wer bist du?", "de")] * number

    def different(alike: int) -> float:
        answers = ["Ich bin eine Sprache."] * alike + [f"Ich bin {at}." for at in range(number - alike)]
        return measure_goals(lambda _: answers, prompts)["different"]

    assert different(math.ceil(0.05 * number)) < GOALS["different"] <= different(math.floor(0.04 * number))


@pytest.mark.slow
def test_nine_of_ten_facts_are_right_in_phrasings_it_never_read(ask: AnswerFunction) -> None:
    assert facts_share(ask, 600) >= GOALS["facts"]


KNOWN = {
    *("hallo", "hi there", "go on", "und warum", "kennst du einen witz", "make me laugh"),
    *("wer bist du eigentlich", "stirbst du gerade", "are you alive?", "hast du angst vor dem tod?"),
    *("cheese", "football", "schach"),
}
"""The visitors' prompts that the training text has as well: greetings, single words, and the shortest questions to a language."""


@pytest.mark.slow
def test_no_other_visitors_prompt_is_in_the_training_text() -> None:
    typed = {prompt.prompt.casefold() for prompt in load_prompts(VISITORS)}
    read = {
        message["content"].casefold()
        for conversation in itertools.islice(conversations(1), 100_000)
        for message in conversation.messages
        if message["role"] == "user"
    }
    assert len(read) > 100_000
    assert typed & read == KNOWN


def test_the_measures_tell_good_answers_from_bad_ones() -> None:
    prompts = [
        AcceptancePrompt("Wo lebt der Bär?", "de", "bear"),
        AcceptancePrompt("Is a dog a quirl?", "en", "dog", "quirl"),
    ]
    good = measure_goals(lambda _: ["Der Bär lebt im Wald.", "A dog is an animal and no quirl."], prompts)
    assert set(good.values()) == {1.0}
    bad = measure_goals(lambda _: ["the house house stands", "the house house stands"], prompts)
    assert [bad[name] for name in ("language", "sentences", "names", "unknown", "different", "own")] == [
        *(0.5, 0.0, 0.0, 0.0, 0.0, 0.5)
    ]
    nonsense = measure_goals(lambda _: ["Der Bär grumst im Wuldenfrack.", "A dog is a florpt."], prompts)
    assert nonsense["real_words"] < 0.8


def test_an_answer_names_a_concept_with_a_word_not_with_some_letters_of_one() -> None:
    by_id = {concept.id: concept for concept in load_world()}
    egg, bear, whale = by_id["egg"], by_id["bear"], by_id["whale"]
    assert names_concept("Das Ei zerbricht.", egg, "de") and not names_concept("Das ist ein Wort.", egg, "de")
    assert names_concept("Bären schlafen.", bear, "de") and not names_concept("Es ist schwer zu ertragen.", bear, "de")
    assert names_concept("The whales sing.", whale, "en") and not names_concept("I hear the sea.", by_id["ear"], "en")
    # A fragment of a word is not a real word.
    prompts = [AcceptancePrompt("Wer baut den Schneemann?", "de"), AcceptancePrompt("Wer bist du?", "de")]
    assert measure_goals(lambda prompts: ["Den Schneem baut niemand.", "Ich bin da."], prompts)["real_words"] == 4 / 5


def test_sentences_and_languages() -> None:
    assert is_sentence("Ich bin eine Sprache.") and is_sentence("„Gut“, sagt er.")
    assert not any(is_sentence(text) for text in ("", "Ja.", "ein Haus.", "Das ist", "Das das Haus ist alt."))
    assert (language_of("Der Hund schläft unter dem Tisch."), language_of("The dog sleeps under the table.")) == (
        "de",
        "en",
    )
