"""What the understudy must reach before it is shipped, measured on prompts that no training text holds.

Two sets of prompts: phrasings of the generator that are held out, and a list of what visitors may type.  Knows prompts, answers
and dictionaries; knows no model: whoever measures brings a function that answers.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from wmkml.collapse.dictionaries import LETTERS, dictionary
from wmkml.understudy.examination import questions, result
from wmkml.understudy.exchanges import Writer
from wmkml.understudy.world import LANGUAGES, Concept, load_world

Ask = Callable[[Sequence[tuple[str, str]]], list[str]]
"""Greedy answers to (prompt, language) pairs."""

GOALS = {
    "language": 0.98,
    "sentences": 0.97,
    "real_words": 0.99,
    "facts": 0.90,
    "names": 0.90,
    "unknown": 0.75,
    "different": 0.97,
}
"""The least share (0 to 1) of each measure."""

PART_OF_A_WORD = 5
"""Letters.  Shorter names stand in words that have nothing to do with them: the egg (Ei) in every article (ein)."""

SENTENCE = re.compile(r"^[„“\"(]?[A-ZÄÖÜ0-9].*[.!?…]$", re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """A prompt: the language its answer must be in, the concept it is about ("": none), a word nobody taught ("": none)."""

    prompt: str
    language: str
    about: str = ""
    unknown: str = ""


def visitors(path: Path) -> list[Prompt]:
    """A list of prompts in YAML, each with the fields of `Prompt`.  Raises TypeError for a field that is none."""
    return [Prompt(**entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]


def unheard(seed: int = 0) -> list[Prompt]:
    """Every held-out way of asking once, each about a concept drawn by the seed."""
    writer = Writer(seed)
    found = []
    for phrasing in writer.asking:
        for language in LANGUAGES:
            for way in sorted(phrasing.unheard[language]):
                concepts = writer.concepts(phrasing)
                unknown = writer.unknown_word(language) if phrasing.id == "unknown" else ""
                about = concepts[0].id if phrasing.concepts == 1 and "{" in way else ""
                found.append(Prompt(writer.say([way], concepts, language, unknown), language, about, unknown))
    return found


def language_of(text: str) -> str:
    """The language in which more of the text's words exist; "" where they are equally many."""
    words = LETTERS.findall(text)
    german, english = (sum(dictionary(language).has(word) for word in words) for language in ("de", "en"))
    return "de" if german > english else "en" if english > german else ""


def is_sentence(text: str) -> bool:
    """Whether it begins and ends as a sentence does, has two words or more, and no word twice in a row."""
    words = LETTERS.findall(text.casefold())
    stammers = any(one == other for one, other in itertools.pairwise(words))
    return bool(SENTENCE.match(text)) and len(words) >= 2 and not stammers


def names(text: str, concept: Concept, language: str) -> bool:
    """Whether a text names the concept: its name is a word of it or, if it is not too short for that, part of one."""
    said = text.casefold()
    words = LETTERS.findall(said)
    return any(
        any(name in word if len(name) >= PART_OF_A_WORD else name == word for word in words)
        or (" " in name and name in said)
        for name in concept.names(language)
    )


def measured(ask: Ask, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Shares (0 to 1) of answers; of words for `real_words`, of prompts about a concept for `names`, of those with a word
    that nobody taught for `unknown`: it must be repeated.

    `different`: of two prompts drawn at random, how often the answers differ; `own`: answers that only one prompt got, and
    the first of those that several got.
    """
    answers = ask([(one.prompt, one.language) for one in prompts])
    by_id = {concept.id: concept for concept in load_world()}
    about = [(one, text) for one, text in zip(prompts, answers, strict=True) if one.about]
    words = [
        (one.language, word)
        for one, text in zip(prompts, answers, strict=True)
        for typed in [set(LETTERS.findall(one.prompt.casefold()))]
        for word in LETTERS.findall(text)
        if word.casefold() not in typed
    ]
    return {
        "language": _share(language_of(text) == one.language for one, text in zip(prompts, answers, strict=True)),
        "sentences": _share(is_sentence(text) for text in answers),
        "real_words": _share(dictionary(language).has(word) for language, word in words),
        "names": _share(names(text, by_id[one.about], one.language) for one, text in about),
        "unknown": _share(
            one.unknown.casefold() in text.casefold() for one, text in zip(prompts, answers, strict=True) if one.unknown
        ),
        "different": _different(answers),
        "own": len(set(answers)) / len(answers),
    }


def _different(answers: Sequence[str]) -> float:
    same = sum(number * (number - 1) for number in Counter(answers).values())
    return 1 - same / (len(answers) * (len(answers) - 1))


def facts(ask: Ask, number: int, seed: int = 0) -> float:
    """The share (0 to 1) of right answers to so many questions about the world, in phrasings that are held out."""
    asked = questions(None, number, seed, unheard=True)
    answers = ask([(one.prompt, one.language) for one in asked])
    return result(asked, answers).share()


def _share(marks: Iterable[bool]) -> float:
    found = list(marks)
    return sum(found) / len(found) if found else 0.0
