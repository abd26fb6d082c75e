"""The ways of asking and answering beside this file: reads them, expands their patterns, and holds a tenth of them out.

Knows patterns and what a concept must have to fit one; draws nothing but a pattern's choices.
"""

from __future__ import annotations

import functools
import random
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wmkml.understudy.world import LANGUAGES, Concept

PHRASINGS = ("questions.yaml", "talk.yaml")
HELD_OUT = 10
"""One of so many phrasings of a question, and of so many unknown words, is not learned."""
CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")


@dataclass(frozen=True)
class Phrasing:
    """One thing that can be said: patterns of prompts and answers in both languages, about `concepts` concepts.

    Attributes:
        relation: the second concept is the one that the first names under it (see `Concept.related`); "": any.
        requires: words of visitors (`world.SPOKEN`) that not every concept has, and that the first must have; "": none.
        fact: what of the concept every answer states, "" where that is left open.
        unheard: by language, the ways of asking (choices made, slots open) that are not learned.
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
    unheard: dict[str, frozenset[str]]


@functools.cache
def load_phrasings() -> tuple[Phrasing, ...]:
    """All phrasings of the files beside this one, read once in a process.  Raises KeyError where an entry lacks a language."""
    found = []
    for name in PHRASINGS:
        for entry in yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8")):
            lines: dict[str, dict[str, list[str]]] = {
                part: {language: _lines(entry[language], part) for language in LANGUAGES}
                for part in ("prompts", "answers", "follow")
            }
            found.append(
                Phrasing(
                    id=entry["id"],
                    weight=entry["weight"],
                    concepts=entry.get("concepts", 0),
                    relation=entry.get("relation", ""),
                    requires=entry.get("requires", ""),
                    fact=entry.get("fact", ""),
                    **lines,
                    unheard={language: unheard_of(lines["prompts"][language]) for language in LANGUAGES},
                )
            )
    return tuple(found)


def expansions(pattern: str) -> list[str]:
    """Every text that `choose` can make of a pattern."""
    found = CHOICE.search(pattern)
    if not found:
        return [pattern]
    return [
        text
        for one in found[1].split("|")
        for text in expansions(pattern[: found.start()] + one + pattern[found.end() :])
    ]


def unheard_of(patterns: list[str]) -> frozenset[str]:
    """The tenth of these ways of asking that is held out, at least one where there are several.

    Never a line that stands there more than once, for that is how most people ask, nor one that asks in the plural, for not
    every concept can be asked about with it.  Ways that differ in the concept alone are held out together: were a way of asking
    learned for yes and not for no, it would give the answer away.
    """
    common = {line for line in patterns if patterns.count(line) > 1}
    ways = {way for line in patterns if line not in common and "plural}" not in line for way in expansions(line)}
    ways -= {way for line in common for way in expansions(line)}
    return (
        frozenset(sorted(ways, key=lambda way: chance_of(way.replace("{b_", "{")))[: -(-len(ways) // HELD_OUT)])
        if len(ways) > 1
        else frozenset()
    )


def chance_of(text: str) -> int:
    """A number that follows from the text alone, whatever its capitals: what it decides holds in every process."""
    return zlib.crc32(text.casefold().encode())


def _lines(entry: dict[str, Any], part: str) -> list[str]:
    return str(entry.get(part, "")).splitlines()


def fits(phrasing: Phrasing, concept: Concept) -> bool:
    """Whether the phrasing can be about this concept."""
    related = not phrasing.relation or phrasing.relation in concept.related
    return related and (not phrasing.requires or bool(getattr(concept, phrasing.requires)["en"]))


def choose(rng: random.Random, pattern: str) -> str:
    """The pattern with every (a|b|c) replaced by one of its alternatives, inner ones first."""
    while found := CHOICE.search(pattern):
        pattern = pattern[: found.start()] + rng.choice(found[1].split("|")) + pattern[found.end() :]
    return pattern
