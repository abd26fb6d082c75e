"""The understudy's world: three hundred concepts, each complete in both languages, with forms that make grammatical sentences."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from wmkml.understudy.exchanges import UNKNOWN_WORDS_FILE
from wmkml.understudy.manners import load_manners
from wmkml.understudy.world import (
    LANGUAGES,
    RELATIONS,
    TEXT_FIELDS,
    WORLD_FILE,
    Concept,
    base_form,
    load_world,
    unknown_concept,
)
from wmkml.understudy.yaml_files import load_yaml

WORLD = load_world()
BY_ID = {concept.id: concept for concept in WORLD}
ENTRIES = load_yaml(WORLD_FILE)["concepts"]


def test_there_are_three_hundred_concepts_of_many_kinds() -> None:
    assert len(BY_ID) == len(WORLD) >= 300
    kinds = Counter(concept.kind for concept in WORLD)
    assert len(kinds) >= 14
    assert min(kinds.values()) >= 5


@pytest.mark.parametrize("concept", WORLD, ids=lambda concept: concept.id)
def test_a_concept_is_told_whole_in_both_languages(concept: Concept) -> None:
    for language in LANGUAGES:
        texts_of = concept.texts[language]
        assert set(texts_of) == set(TEXT_FIELDS)
        assert (len(texts_of["look"]), len(texts_of["does"])) == (2, 2)
        assert len({*texts_of["look"], *texts_of["does"]}) == 4
        assert all(text.strip() == text and text for texts in texts_of.values() for text in texts)
        assert texts_of["say"][0][-1] in ".?!"
        for text in (texts_of["where"][0], *texts_of["does"]):
            verb, _, rest = text.partition(" ")
            assert verb.islower() and (rest or text in texts_of["does"])
        assert not {text.split()[0] for text in texts_of["does"]} & {"ist", "war", "kann", "is", "was", "can"}
    for text in concept.texts["en"]["does"]:
        assert text.split()[0].endswith("s"), "the third person"


@pytest.mark.parametrize("concept", WORLD, ids=lambda concept: concept.id)
def test_relations_lead_to_other_concepts(concept: Concept) -> None:
    assert {"with", "needs"} <= set(concept.related) <= set(RELATIONS)
    assert all(other in BY_ID and other != concept.id for other in concept.related.values())
    assert concept.related["with"] != concept.related["needs"]
    if opposite := concept.related.get("opposite"):
        assert BY_ID[opposite].related["opposite"] == concept.id


def test_nouns_are_different_and_no_word_is_both_known_and_unknown() -> None:
    unknown = load_yaml(UNKNOWN_WORDS_FILE)
    for language in LANGUAGES:
        nouns = [concept.forms[language]["noun"].casefold() for concept in WORLD]
        assert [noun for noun, times in Counter(nouns).items() if times > 1] == []
        words = [word.casefold() for word in unknown[language]]
        assert len(set(words)) == len(words) >= 300
        assert not set(words) & {*nouns, *(concept.texts[language]["plural"][0].casefold() for concept in WORLD)}


def test_german_nouns_have_their_article_and_english_pronouns_agree_with_their_verbs() -> None:
    for entry in ENTRIES:
        assert re.fullmatch(r"(der|die|das) [A-ZÄÖÜ]\S*", entry["de"]["noun"]), entry["de"]["noun"]
        assert entry["en"].get("pronoun", "it") in ("it", "he", "she")


def test_forms_of_a_masculine_a_weak_and_an_uncountable_noun() -> None:
    dog, bear, love = BY_ID["dog"].forms, BY_ID["bear"].forms, BY_ID["love"].forms
    assert [dog["de"][name] for name in ("def", "acc", "dat", "von", "zu", "iacc", "bare_dat", "accpron")] == [
        *("der Hund", "den Hund", "dem Hund", "vom Hund", "zum Hund", "einen Hund", "einem Hund", "ihn")
    ]
    assert (bear["de"]["acc"], bear["de"]["zu"], bear["de"]["indef"]) == ("den Bären", "zum Bären", "ein Bär")
    assert (love["de"]["bare"], love["de"]["def"], love["en"]["def"]) == ("Liebe", "die Liebe", "love")
    assert (dog["en"]["bare"], BY_ID["umbrella"].forms["en"]["bare"]) == ("a dog", "an umbrella")
    assert (BY_ID["moon"].forms["de"]["bare"], BY_ID["moon"].forms["en"]["bare"]) == ("der Mond", "the moon")


def test_an_unknown_word_has_the_forms_in_which_one_asks_about_a_known_one() -> None:
    robot = unknown_concept("Quirl", "de", "der").forms["de"]
    assert [robot[name] for name in ("Def", "acc", "von", "iacc", "my_acc", "noun", "plural")] == [
        *("Der Quirl", "den Quirl", "vom Quirl", "einen Quirl", "meinen Quirl", "Quirl", "Quirl")
    ]
    # Its spelling stays as typed, also at the beginning of a sentence.
    typed = unknown_concept("iPhone", "en", "die").forms["en"]
    assert (typed["Noun"], typed["Def"], typed["indef"]) == ("iPhone", "The iPhone", "an iPhone")
    assert not {"kind", "does1", "pron"} & robot.keys()


IDIOMS = {
    *("day", "past", "time", "fall", "years", "mistakes", "photographs", "rhymes"),
    *("frage", "fragen", "wissen", "krieg", "kriege", "war", "jahr"),
}
"""Words that are names of concepts but mean something else in those texts: some day, half past three, to fall over."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_visitors_speak_of_beside_names_no_concept(language: str) -> None:
    names = {
        name for concept in WORLD for name in (*concept.names(language), *map(str.casefold, concept.also[language]))
    }
    beside = load_manners()["beside"][language]
    assert min(len(sentences) for sentences in beside.values()) >= 20
    words = {
        word for sentences in beside.values() for text in sentences for word in re.findall(r"\w+", text.casefold())
    }
    assert words & names <= IDIOMS
    assert len(words) > 250


def test_who_feels_something_says_so_in_more_than_one_way() -> None:
    for concept in WORLD:
        for language in LANGUAGES:
            assert bool(concept.felt[language]) == bool(concept.says[language]) == bool(concept.felt["de"])
            assert len(concept.says[language]) != 1
            assert all(text[0].isupper() and text[-1] not in ".!?" for text in concept.says[language])


def test_questions_are_asked_in_their_own_order() -> None:
    bear = BY_ID["bear"].forms
    assert bear["de"]["asks_where"] == "lebt der Bär"
    assert bear["en"]["asks_where"] == "does the bear live"
    assert bear["en"]["asks_does1"] == "does the bear sleep in winter"
    assert bear["de"]["asks_does1_pron"] == "schläft er im Winter"


@pytest.mark.parametrize(
    ("verb", "base"),
    [
        *(("catches", "catch"), ("flies", "fly"), ("goes", "go"), ("has", "have"), ("lies", "lie"), ("sees", "see")),
        *(
            ("fixes", "fix"),
            ("closes", "close"),
            ("passes", "pass"),
            ("is", "be"),
            ("pushes", "push"),
            ("loves", "love"),
        ),
    ],
)
def test_english_infinitives(verb: str, base: str) -> None:
    assert base_form(verb) == base
