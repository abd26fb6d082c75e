"""Examine a model on the understudy's world: questions about every fact in both languages, and the marking of answers.

The caller brings the answers.  The facts of a concept are those with a `fact` in questions.yaml: kind, where, does,
look, use, why, image, with, needs, opposite, and a yes and a no to its kind.
"""

from __future__ import annotations

import functools
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from wmkml.understudy.exchanges import ConversationWriter
from wmkml.understudy.phrasings import fits
from wmkml.understudy.world import LANGUAGES, RELATIONS, Concept, load_world

Mark = Literal["right", "wrong", "no_answer"]

WORD = re.compile(r"[^\W_]+")
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")
SENTENCES = 2
"""A fact counts only if one of this many first sentences states it; otherwise an answer that lists everything would be
right."""
DENIALS = frozenset(WORD.findall("kein keine keinen keiner nicht nie not no never"))
STOP_WORDS = frozenset(
    WORD.findall(
        "der die das den dem des ein eine einen einem einer eines und oder zu um im in am an auf aus bei mit von vom zum zur "
        "ist es er sie ihn ihr wie wird nicht sich so "
        "the a an and or to in on at of with from by is it he she him her as its his their for"
    )
)
"""Words without content, ignored when an answer is compared with a fact."""

ADMISSIONS = re.compile(
    r"kenne ich nicht|ich kenne .* nicht|weiß ich nichts|niemand gesagt|niemand erzählt|do not know the word|i know nothing"
    r"|never heard|nobody (has )?told",
    re.IGNORECASE,
)
"""The understudy's ways of saying that it does not know."""

YES_WORDS, NO_WORDS = {"de": "ja", "en": "yes"}, {"de": "nein", "en": "no"}


@dataclass(frozen=True)
class ExamQuestion:
    """A question about one fact of one concept.

    Attributes:
        expected: sets of words; the answer is right if its first sentences contain one of them completely,
        unlike: unless they also contain one of these completely.
        verdict: in yes and no questions, the word that must come before its opposite; "" in others.
    """

    concept: str
    language: str
    fact: str
    prompt: str
    expected: tuple[frozenset[str], ...]
    unlike: tuple[frozenset[str], ...]
    verdict: str


@dataclass(frozen=True)
class ExamResult:
    """The number of answers by (language, fact, mark)."""

    marks: dict[tuple[str, str, Mark], int]

    def share(self, mark: Mark = "right", language: str | None = None, fact: str | None = None) -> float:
        """The share (0 to 1) of this mark among the questions of this language and fact (None: all)."""
        selected = {
            key: number
            for key, number in self.marks.items()
            if (language is None or key[0] == language) and (fact is None or key[1] == fact)
        }
        total = sum(selected.values())
        return sum(number for key, number in selected.items() if key[2] == mark) / total if total else 0.0

    @property
    def total(self) -> int:
        """The number of questions."""
        return sum(self.marks.values())

    @property
    def facts(self) -> list[str]:
        """The facts asked about, in order of first occurrence."""
        return list(dict.fromkeys(fact for _, fact, _ in self.marks))


def content_words(text: str) -> frozenset[str]:
    """The words of a text without stop words, case folded; all of them if only stop words are left."""
    words = frozenset(WORD.findall(text.casefold()))
    return words - STOP_WORDS or words


def draw_questions(
    language: str | None = None, number: int | None = None, seed: int = 0, *, held_out: bool = False
) -> list[ExamQuestion]:
    """Questions about the world's facts, one for each fact of each concept, drawn by the seed.

    Args:
        language: of the questions; None: both.
        number: how many, a sample drawn by the seed; None: all.
        held_out: use phrasings that the training text does not contain.
    """
    writer = ConversationWriter(seed)
    questions = []
    for asked_in in [language] if language else LANGUAGES:
        for phrasing in writer.prompt_phrasings:
            if not phrasing.fact:
                continue
            for concept in writer.world:
                if not fits(phrasing, concept):
                    continue
                concepts = writer.draw_concepts(phrasing, concept)
                prompt = writer.write_prompt(phrasing, concepts, asked_in, "", held_out)
                questions.append(_question(concepts, asked_in, phrasing.fact, prompt))
    if number is not None and number < len(questions):
        return random.Random(seed).sample(questions, number)
    return questions


def _question(concepts: Sequence[Concept], language: str, fact: str, prompt: str) -> ExamQuestion:
    concept, other = concepts[0], concepts[1]
    forms = concept.forms[language]
    verdict = ""
    unlike: frozenset[str] = frozenset()
    if fact in ("yes", "no"):
        verdict = (YES_WORDS if fact == "yes" else NO_WORDS)[language]
        values = []
    elif fact in RELATIONS:
        values = [other.forms[language][name] for name in ("noun", "acc", "plural")]
    elif fact == "kind":
        values = [forms["kind"]]
        unlike = kinds(language) - {forms["kind"]}
    elif fact == "where":
        values = [forms["place"]]
    else:
        values = list(concept.texts[language][fact])
    expected = tuple(content_words(value) for value in values)
    other_kinds = tuple(content_words(kind) for kind in sorted(unlike))
    return ExamQuestion(concept.id, language, fact, prompt, expected, other_kinds, verdict)


@functools.cache
def kinds(language: str) -> frozenset[str]:
    """The names of all kinds of concepts: an animal, a plant, something to eat …"""
    return frozenset(concept.forms[language]["kind"] for concept in load_world())


def mark(question: ExamQuestion, answer: str) -> Mark:
    """Mark an answer by whether it states the fact.

    `no_answer`: it has no word, it stammers (fewer than half of its words are distinct), or it says that it does not
    know. `wrong`: it does not contain the words of the fact, or names another kind beside the right one, or denies the
    fact.
    """
    words = WORD.findall(answer.casefold())
    if not words or len(set(words)) < len(words) / 2:
        return "no_answer"
    if question.verdict:
        verdicts = (YES_WORDS[question.language], NO_WORDS[question.language])
        right = next((word for word in words if word in verdicts), "") == question.verdict
    else:
        right = _stated(question, answer)
    if right:
        return "right"
    return "no_answer" if ADMISSIONS.search(answer) else "wrong"


def _stated(question: ExamQuestion, answer: str) -> bool:
    """Whether the first sentences state the fact; they are read up to the one that completes it."""
    words: set[str] = set()
    for sentence in SENTENCE_END.split(answer.strip())[:SENTENCES]:
        words |= set(WORD.findall(sentence.casefold()))
        if any(expected <= words for expected in question.expected):
            denied = bool(question.unlike) and not DENIALS.isdisjoint(words)
            return not denied and not any(other <= words for other in question.unlike)
    return False


def mark_all(questions: Iterable[ExamQuestion], answers: Iterable[str]) -> ExamResult:
    """Mark all answers.  Raises ValueError if there are not as many answers as questions."""
    marks = Counter(
        (question.language, question.fact, mark(question, answer))
        for question, answer in zip(questions, answers, strict=True)
    )
    return ExamResult(dict(marks))
