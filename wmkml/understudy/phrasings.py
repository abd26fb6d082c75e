"""Read the phrasings in questions.yaml and talk.yaml, expand their patterns, and hold a tenth of the prompts out."""

from __future__ import annotations

import functools
import random
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmkml.understudy.world import LANGUAGES, Concept
from wmkml.understudy.yaml_files import load_yaml

PHRASING_FILES = ("questions.yaml", "talk.yaml")
HELD_OUT_ONE_IN = 10
"""One in this many ways of asking, and one in this many unknown words, is kept out of the training text."""
CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")


@dataclass(frozen=True)
class Phrasing:
    """One kind of exchange: patterns of prompts and answers in both languages, about `concepts` concepts.

    Attributes:
        weight: relative frequency in the training text.
        relation: a key of the first concept's `related` that gives the second concept; "": any of another kind.
        requires: a field of `world.VISITOR_FIELDS` that the first concept must have; "": none.
        fact: the attribute of the concept that every answer states; "": none in particular.
        follow: patterns of prompts that follow an exchange about the same concept.
        held_out: by language, the prompt patterns (choices resolved, slots open) that are not in the training text.
    """

    id: str
    weight: float
    concepts: int
    relation: str
    requires: str
    fact: str
    prompts: dict[str, list[str]]
    answers: dict[str, list[str]]
    follow: dict[str, list[str]]
    held_out: dict[str, frozenset[str]]


@functools.cache
def load_phrasings() -> tuple[Phrasing, ...]:
    """All phrasings of PHRASING_FILES, read once in a process.  Raises KeyError if an entry lacks a language."""
    phrasings = []
    for name in PHRASING_FILES:
        for entry in load_yaml(Path(__file__).with_name(name)):
            lines: dict[str, dict[str, list[str]]] = {
                part: {language: _lines(entry[language], part) for language in LANGUAGES}
                for part in ("prompts", "answers", "follow")
            }
            phrasings.append(
                Phrasing(
                    id=entry["id"],
                    weight=entry["weight"],
                    concepts=entry.get("concepts", 0),
                    relation=entry.get("relation", ""),
                    requires=entry.get("requires", ""),
                    fact=entry.get("fact", ""),
                    **lines,
                    held_out={language: select_held_out(lines["prompts"][language]) for language in LANGUAGES},
                )
            )
    return tuple(phrasings)


def expansions(pattern: str) -> list[str]:
    """Every text that `resolve_choices` can make of a pattern."""
    choice = CHOICE.search(pattern)
    if not choice:
        return [pattern]
    return [
        text
        for alternative in choice[1].split("|")
        for text in expansions(pattern[: choice.start()] + alternative + pattern[choice.end() :])
    ]


def select_held_out(patterns: list[str]) -> frozenset[str]:
    """The tenth of the patterns' expansions that is held out, rounded up; none if there is only one.

    Lines that occur more than once (the most common ways of asking) and plurals (not every concept has one) are never
    held out.  Expansions that differ only in the concept are held out together: if one were learned for yes-questions
    but not for no-questions, the wording would give the answer away.
    """
    common = {line for line in patterns if patterns.count(line) > 1}
    texts = {text for line in patterns if line not in common and "plural}" not in line for text in expansions(line)}
    texts -= {text for line in common for text in expansions(line)}
    if len(texts) <= 1:
        return frozenset()
    in_order = sorted(texts, key=lambda text: text_hash(text.replace("{b_", "{")))
    return frozenset(in_order[: -(-len(texts) // HELD_OUT_ONE_IN)])


def text_hash(text: str) -> int:
    """A case-insensitive hash of the text that is the same in every process, unlike `hash`."""
    return zlib.crc32(text.casefold().encode())


def _lines(entry: dict[str, Any], part: str) -> list[str]:
    return str(entry.get(part, "")).splitlines()


def fits(phrasing: Phrasing, concept: Concept) -> bool:
    """Whether the phrasing can be about this concept."""
    related = not phrasing.relation or phrasing.relation in concept.related
    return related and (not phrasing.requires or bool(getattr(concept, phrasing.requires)["en"]))


def resolve_choices(rng: random.Random, pattern: str) -> str:
    """The pattern with every (a|b|c) replaced by one of its alternatives, inner ones first."""
    while choice := CHOICE.search(pattern):
        pattern = pattern[: choice.start()] + rng.choice(choice[1].split("|")) + pattern[choice.end() :]
    return pattern
