"""The understudy's world: the concepts of world.yaml with their grammatical forms in German and English.

The forms (article, case, pronoun, word order) are those that the phrasings' slots name.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmkml.understudy.yaml_files import load_yaml

LANGUAGES = ("de", "en")
WORLD_FILE = Path(__file__).with_name("world.yaml")
RELATIONS = ("with", "needs", "opposite")
TEXT_FIELDS = ("noun", "plural", "look", "where", "does", "use", "why", "image", "say")
"""The fields that every concept has in world.yaml, in each language."""
VISITOR_FIELDS = ("also", "felt", "says")
"""Fields that only some concepts have: visitors' words, each a list of alternatives."""

ACCUSATIVE = {"der": "den", "die": "die", "das": "das"}
DATIVE = {"der": "dem", "die": "der", "das": "dem"}
VON = {"der": "vom", "die": "von der", "das": "vom"}
ZU = {"der": "zum", "die": "zur", "das": "zum"}
INDEFINITE = {"der": "ein", "die": "eine", "das": "ein"}
INDEFINITE_ACCUSATIVE = {"der": "einen", "die": "eine", "das": "ein"}
INDEFINITE_DATIVE = {"der": "einem", "die": "einer", "das": "einem"}
POSSESSIVE = {"der": "mein", "die": "meine", "das": "mein"}
POSSESSIVE_ACCUSATIVE = {"der": "meinen", "die": "meine", "das": "mein"}
PRONOUN = {"der": "er", "die": "sie", "das": "es"}
PRONOUN_ACCUSATIVE = {"er": "ihn", "sie": "sie", "es": "es", "he": "him", "she": "her", "it": "it"}
TAKES_AN = ("a", "e", "i", "o", "hour", "umbrella")
"""Beginnings of English nouns with the article "an"."""
IRREGULAR = {"is": "be", "has": "have", "does": "do", "goes": "go", "dies": "die", "lies": "lie", "ties": "tie"}


@dataclass(frozen=True)
class Concept:
    """One thing the understudy knows.

    Attributes:
        forms: by language, the text of every slot name of the phrasings.
        texts: by language, the TEXT_FIELDS of world.yaml, each as a tuple.
        related: by relation (RELATIONS), the id of the related concept.
        countable: whether prompts may use its plural.
        also, felt, says: by language: synonyms; adjectives for who feels it; sentences of who feels it.
    """

    id: str
    kind: str
    forms: dict[str, dict[str, str]]
    texts: dict[str, dict[str, tuple[str, ...]]]
    related: dict[str, str]
    countable: bool
    also: dict[str, tuple[str, ...]]
    felt: dict[str, tuple[str, ...]]
    says: dict[str, tuple[str, ...]]

    def names(self, language: str) -> tuple[str, ...]:
        """The names, case folded, that an answer may use for it."""
        forms = self.forms[language]
        return tuple(dict.fromkeys(forms[name].casefold().removeprefix("the ") for name in ("noun", "plural", "acc")))


def capitalise(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def base_form(verb: str) -> str:
    """The English infinitive of a verb in the third person: catches → catch, flies → fly."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    if verb.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return verb[:-2]
    return verb.removesuffix("s")


def _german(entry: dict[str, Any], count: str) -> dict[str, str]:
    article, noun = entry["noun"].split(" ", 1)
    bent = entry.get("weak", noun)
    nominative, accusative, dative = f"{article} {noun}", f"{ACCUSATIVE[article]} {bent}", f"{DATIVE[article]} {bent}"
    each, mass = count == "each", count == "mass"
    return {
        "noun": noun,
        "plural": entry["plural"],
        "def": nominative,
        "acc": accusative,
        "dat": dative,
        "von": f"{VON[article]} {bent}",
        "zu": f"{ZU[article]} {bent}",
        "indef": f"{INDEFINITE[article]} {noun}" if each else nominative,
        "iacc": f"{INDEFINITE_ACCUSATIVE[article]} {bent}" if each else accusative,
        "my": f"{POSSESSIVE[article]} {noun}",
        "my_acc": f"{POSSESSIVE_ACCUSATIVE[article]} {bent}",
        "bare": f"{INDEFINITE[article]} {noun}" if each else noun if mass else nominative,
        "bare_dat": f"{INDEFINITE_DATIVE[article]} {bent}" if each else bent if mass else dative,
        "pron": PRONOUN[article],
    }


def _english(entry: dict[str, Any], count: str) -> dict[str, str]:
    noun = entry["noun"]
    article = "an" if noun.startswith(TAKES_AN) else "a"
    definite = noun if count == "mass" else f"the {noun}"
    indefinite = f"{article} {noun}" if count == "each" else definite
    forms = dict.fromkeys(("def", "acc", "dat"), definite) | dict.fromkeys(("indef", "iacc", "bare"), indefinite)
    return forms | {"noun": noun, "plural": entry["plural"], "pron": entry.get("pronoun", "it")}


def _question(language: str, subject: str, predicate: str) -> str:
    """Subject and predicate in the word order of a question: fängt die Katze Mäuse; does the cat catch mice."""
    verb, _, rest = predicate.partition(" ")
    if language == "de" or verb == "is":
        return f"{verb} {subject} {rest}".rstrip()
    return f"does {subject} {base_form(verb)} {rest}".rstrip()


def _forms(entry: dict[str, Any], language: str, count: str, kind: str) -> dict[str, str]:
    forms = _german(entry, count) if language == "de" else _english(entry, count)
    verb, place = entry["where"].split(" ", 1)
    does1, does2 = entry["does"]
    forms |= {
        "kind": kind,
        "look1": entry["look"][0],
        "look2": entry["look"][1],
        "where": entry["where"],
        "place": place,
        "where_inv": f"{verb} {forms['def']} {place}",
        "asks_where": _question(language, forms["def"], verb),
        "asks_where_pron": _question(language, forms["pron"], verb),
        "does1": does1,
        "does2": does2,
        "asks_does1": _question(language, forms["def"], does1),
        "asks_does2": _question(language, forms["def"], does2),
        "asks_does1_pron": _question(language, forms["pron"], does1),
        "asks_does2_pron": _question(language, forms["pron"], does2),
        "accpron": PRONOUN_ACCUSATIVE[forms["pron"]],
        "use": entry["use"],
        "why": entry["why"],
        "image": entry["image"],
        "say": entry["say"],
    }
    return forms | {capitalise(name): capitalise(text) for name, text in forms.items()}


def _in_both(entry: dict[str, Any], kind: dict[str, str]) -> dict[str, dict[str, str]]:
    count = entry.get("count", "each")
    forms = {language: _forms(entry[language], language, count, kind[language]) for language in LANGUAGES}
    for language, other in (LANGUAGES, reversed(LANGUAGES)):
        abroad = forms[other]["def"]
        forms[language] |= {"abroad": abroad, "Abroad": capitalise(abroad)}
    return forms


def _by_language(entry: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {language: tuple(entry.get(language, ())) for language in LANGUAGES}


def _texts(entry: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(entry[name]) if isinstance(entry[name], list) else (entry[name],) for name in TEXT_FIELDS}


def unknown_concept(word: str, language: str, article: str) -> Concept:
    """A concept for a word that the world does not have, with only the forms that prompts need.

    `article`: its German article.  The word itself is never capitalised or changed otherwise.
    """
    noun = f"{article} {word}" if language == "de" else word
    forms = (_german if language == "de" else _english)({"noun": noun, "plural": word}, "each")
    del forms["pron"]
    forms |= {capitalise(name): text if text == word else capitalise(text) for name, text in forms.items()}
    empty = _by_language({})
    return Concept(
        word, "", {language: forms}, texts={}, related={}, countable=True, also=empty, felt=empty, says=empty
    )


@functools.cache
def load_world(path: Path = WORLD_FILE) -> tuple[Concept, ...]:
    """All concepts of the world file, in its order; read once in a process.

    Raises KeyError if an entry lacks a field.
    """
    world = load_yaml(path)
    opposites = {id_: opposite for pair in world["opposites"] for id_, opposite in (pair, reversed(pair))}
    ids = {entry["id"] for entry in world["concepts"]}
    for name in VISITOR_FIELDS:
        if unknown := world[name].keys() - ids:
            raise KeyError(f"{name} names concepts that {path.name} does not have: {', '.join(sorted(unknown))}")
    return tuple(
        Concept(
            id=entry["id"],
            kind=entry["kind"],
            forms=_in_both(entry, world["kinds"][entry["kind"]]),
            texts={language: _texts(entry[language]) for language in LANGUAGES},
            related={name: entry[name] for name in ("with", "needs")}
            | ({"opposite": opposites[entry["id"]]} if entry["id"] in opposites else {}),
            countable=entry.get("count", "each") == "each",
            **{name: _by_language(world[name].get(entry["id"], {})) for name in VISITOR_FIELDS},
        )
        for entry in world["concepts"]
    )
