"""The understudy's world: reads world.yaml and gives every concept's forms in German and English.

Knows the grammar the phrasings need (article, case, pronoun, word order), and nothing of what is asked or answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LANGUAGES = ("de", "en")
WORLD_FILE = Path(__file__).with_name("world.yaml")

ACCUSATIVE = {"der": "den", "die": "die", "das": "das"}
DATIVE = {"der": "dem", "die": "der", "das": "dem"}
INDEFINITE = {"der": "ein", "die": "eine", "das": "ein"}
INDEFINITE_ACCUSATIVE = {"der": "einen", "die": "eine", "das": "ein"}
PRONOUN = {"der": "er", "die": "sie", "das": "es"}
PRONOUN_ACCUSATIVE = {"er": "ihn", "sie": "sie", "es": "es", "he": "him", "she": "her", "it": "it"}


@dataclass(frozen=True)
class Concept:
    """One thing the understudy knows.  `forms[language]` maps the names used in phrasings to text."""

    id: str
    kind: str
    forms: dict[str, dict[str, str]]


def capitalised(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _german(entry: dict[str, Any], count: str) -> dict[str, str]:
    article, noun = entry["noun"].split(" ", 1)
    bent = entry.get("weak", noun)
    nominative, accusative, dative = f"{article} {noun}", f"{ACCUSATIVE[article]} {bent}", f"{DATIVE[article]} {bent}"
    each = count == "each"
    return {
        "noun": noun,
        "plural": entry["plural"],
        "def": nominative,
        "acc": accusative,
        "dat": dative,
        "indef": f"{INDEFINITE[article]} {noun}" if each else nominative,
        "iacc": f"{INDEFINITE_ACCUSATIVE[article]} {bent}" if each else accusative,
        "pron": PRONOUN[article],
    }


def _english(entry: dict[str, Any], count: str) -> dict[str, str]:
    noun = entry["noun"]
    article = "an" if noun[0] in "aeio" else "a"
    definite = noun if count == "mass" else f"the {noun}"
    indefinite = f"{article} {noun}" if count == "each" else definite
    return {
        "noun": noun,
        "plural": entry["plural"],
        "def": definite,
        "acc": definite,
        "dat": definite,
        "indef": indefinite,
        "iacc": indefinite,
        "pron": entry.get("pronoun", "it"),
    }


def _forms(entry: dict[str, Any], language: str, count: str, kind: str) -> dict[str, str]:
    forms = _german(entry, count) if language == "de" else _english(entry, count)
    verb, place = entry["where"].split(" ", 1)
    does_verb, _, does_rest = entry["does"][0].partition(" ")
    forms |= {
        "kind": kind,
        "look1": entry["look"][0],
        "look2": entry["look"][1],
        "where": entry["where"],
        "wverb": verb,
        "wbase": verb.removesuffix("s"),
        "place": place,
        "where_inv": f"{verb} {forms['def']} {place}",
        "does1": entry["does"][0],
        "does2": entry["does"][1],
        "does1_inv": f"{does_verb} {forms['def']} {does_rest}".rstrip(),
        "accpron": PRONOUN_ACCUSATIVE[forms["pron"]],
        "say": entry["say"],
    }
    return forms | {capitalised(name): capitalised(text) for name, text in forms.items()}


def load_world(path: Path = WORLD_FILE) -> list[Concept]:
    """Every concept of the world file, in its order.  Raises KeyError where an entry lacks a field."""
    world = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        Concept(
            id=entry["id"],
            kind=entry["kind"],
            forms={
                language: _forms(
                    entry[language], language, entry.get("count", "each"), world["kinds"][entry["kind"]][language]
                )
                for language in LANGUAGES
            },
        )
        for entry in world["concepts"]
    ]
