"""Examines a model in the understudy's world: asks every fact, in both languages, and marks the answers.

Knows the world, its phrasings and how an answer is marked; knows no model: whoever examines brings the answers.  A fact is
what the phrasings call one (`fact` in questions.yaml): kind, where, does, look, use, why, image, what it goes with, needs and is
the opposite of, and a yes and a no to its kind.
"""

from __future__ import annotations

import functools
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from wmkml.understudy.exchanges import Writer
from wmkml.understudy.phrasings import fits
from wmkml.understudy.world import LANGUAGES, RELATIONS, Concept, load_world

Mark = Literal["right", "wrong", "no_answer"]

WORD = re.compile(r"[^\W_]+")
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")
SENTENCES = 2
"""A fact is stated in one of so many first sentences, or is not told: whoever says everything has answered nothing."""
DENIALS = frozenset(WORD.findall("kein keine keinen keiner nicht nie not no never"))
SMALL_WORDS = frozenset(
    WORD.findall(
        "der die das den dem des ein eine einen einem einer eines und oder zu um im in am an auf aus bei mit von vom zum zur "
        "ist es er sie ihn ihr wie wird nicht sich so "
        "the a an and or to in on at of with from by is it he she him her as its his their for"
    )
)
"""Words that say nothing of a fact."""

ADMISSIONS = re.compile(
    r"kenne ich nicht|ich kenne .* nicht|weiß ich nichts|niemand gesagt|niemand erzählt|do not know the word|i know nothing"
    r"|never heard|nobody (has )?told",
    re.IGNORECASE,
)
"""How the understudy says that it does not know."""

YES, NO = {"de": "ja", "en": "yes"}, {"de": "nein", "en": "no"}


@dataclass(frozen=True)
class Question:
    """A question about one fact of one concept.

    Attributes:
        expected: the answer is right where its first sentences hold all words of one of these.
        unlike: and wrong where they hold all words of one of these as well.
        verdict: of yes and no questions, the word that a right answer holds before the other one; "" of others.
    """

    concept: str
    language: str
    fact: str
    prompt: str
    expected: tuple[frozenset[str], ...]
    unlike: tuple[frozenset[str], ...]
    verdict: str


@dataclass(frozen=True)
class Result:
    """How often each mark was given, in all and by language and fact."""

    marks: dict[tuple[str, str, Mark], int]

    def share(self, mark: Mark = "right", language: str | None = None, fact: str | None = None) -> float:
        """The share (0 to 1) of this mark among the questions of this language and fact; 0 where there were none."""
        counted = {
            key: number
            for key, number in self.marks.items()
            if (language is None or key[0] == language) and (fact is None or key[1] == fact)
        }
        total = sum(counted.values())
        return sum(number for key, number in counted.items() if key[2] == mark) / total if total else 0.0

    @property
    def asked(self) -> int:
        """How many questions there were."""
        return sum(self.marks.values())

    @property
    def facts(self) -> list[str]:
        """The facts asked for, in their order."""
        return list(dict.fromkeys(fact for _, fact, _ in self.marks))


def content_words(text: str) -> frozenset[str]:
    """The words of a text that say something, case folded; all of them where none does."""
    words = frozenset(WORD.findall(text.casefold()))
    return words - SMALL_WORDS or words


def questions(
    language: str | None = None, number: int | None = None, seed: int = 0, *, unheard: bool = False
) -> list[Question]:
    """Questions about the world's facts, one for each fact of each concept, drawn by the seed.

    Args:
        language: of the questions; None: both.
        number: so many of them, chosen by the seed; None: all.
        unheard: ask in phrasings that no training text holds.
    """
    writer = Writer(seed)
    asked = []
    for one in [language] if language else LANGUAGES:
        for phrasing in writer.asking:
            if not phrasing.fact:
                continue
            for concept in writer.world:
                if not fits(phrasing, concept):
                    continue
                concepts = writer.concepts(phrasing, concept)
                prompt = writer.ask(phrasing, concepts, one, "", unheard)
                asked.append(_question(concepts, one, phrasing.fact, prompt))
    if number is not None and number < len(asked):
        return random.Random(seed).sample(asked, number)
    return asked


def _question(concepts: Sequence[Concept], language: str, fact: str, prompt: str) -> Question:
    concept, other = concepts[0], concepts[1]
    forms = concept.forms[language]
    verdict = ""
    unlike: frozenset[str] = frozenset()
    if fact in ("yes", "no"):
        verdict = (YES if fact == "yes" else NO)[language]
        values = []
    elif fact in RELATIONS:
        values = [other.forms[language][name] for name in ("noun", "acc", "plural")]
    elif fact == "kind":
        values = [forms["kind"]]
        unlike = kinds(language) - {forms["kind"]}
    elif fact == "where":
        values = [forms["place"]]
    else:
        values = list(concept.told[language][fact])
    expected, others = (tuple(content_words(value) for value in some) for some in (values, sorted(unlike)))
    return Question(concept.id, language, fact, prompt, expected, others, verdict)


@functools.cache
def kinds(language: str) -> frozenset[str]:
    """What everything in the world is one of: an animal, a plant, something to eat …"""
    return frozenset(concept.forms[language]["kind"] for concept in load_world())


def mark(question: Question, answer: str) -> Mark:
    """Whether an answer states the fact asked for.

    `no_answer`: there is nothing in it, it stammers (fewer than half of its words are different), or it says that it does not
    know.  `wrong`: anything else that does not hold the words of the fact, or holds another kind beside the right one, or
    denies it.
    """
    found = WORD.findall(answer.casefold())
    if not found or len(set(found)) < len(found) / 2:
        return "no_answer"
    if question.verdict:
        verdicts = (YES[question.language], NO[question.language])
        right = next((word for word in found if word in verdicts), "") == question.verdict
    else:
        right = _stated(question, answer)
    if right:
        return "right"
    return "no_answer" if ADMISSIONS.search(answer) else "wrong"


def _stated(question: Question, answer: str) -> bool:
    """Whether the first sentences hold the fact, read up to the one that completes it."""
    found: set[str] = set()
    for sentence in SENTENCE_END.split(answer.strip())[:SENTENCES]:
        found |= set(WORD.findall(sentence.casefold()))
        if any(words <= found for words in question.expected):
            denied = bool(question.unlike) and not DENIALS.isdisjoint(found)
            return not denied and not any(words <= found for words in question.unlike)
    return False


def result(asked: Iterable[Question], answers: Iterable[str]) -> Result:
    """Mark all answers.  Raises ValueError where there are not as many answers as questions."""
    counted = Counter(
        (question.language, question.fact, mark(question, answer))
        for question, answer in zip(asked, answers, strict=True)
    )
    return Result(dict(counted))
