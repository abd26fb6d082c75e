"""Patterns that are taught and then looked for in answers, by regular expression: the German exercise, and invented ones.

Of the exercise (muster.txt) the questions ask for words that no taught line holds.  Its Python lists have a blank before each
word, because the understudy's tokenizer has most nouns only with one.  An invented pattern is drawn from a seed: a frame, and
words that are in no language.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wmkml.understudy.world import Concept, load_world

EXERCISE_QUESTIONS = 10
"""Held-out topics of each pattern."""

SPELL, LIST, ARRAY, IMPERATIVE = "Zauberspruch", "gezählte Liste", "Python-Liste", "Befehl"
INVENTED = "erfundenes Muster"

_WORD = r"[^\W\d_]+"

_VERBS = ("Male", "Wecke", "Lobe", "Suche", "Grüße", "Rufe", "Zeichne", "Träume")

_FRAMES = (
    "{a} {b}: {topic} {c}!",
    "{a}! {topic}! {b} {c}!",
    "{a} {b} {c}: {topic}.",
    "{a}, {topic}, {b} {c}.",
    "{a} {b} {topic}, {c} {topic}!",
    "{a}: {topic} {b}, {topic} {c}.",
)


@dataclass(frozen=True)
class PatternQuestion:
    """A held-out prompt, and what its answer must be like.

    Attributes:
        expression: that of the pattern, which an answer must match as a whole, with any words in its free places.
        exact: the same with the very words that were asked for; empty where the answer is the model's to choose.
        kinds: of the things that a list is asked for, in order.
    """

    pattern: str
    prompt: str
    expression: str
    exact: str = ""
    kinds: tuple[str, ...] = ()

    def matches(self, answer: str) -> bool:
        """Whether the answer has the pattern."""
        return re.fullmatch(self.expression, answer.strip()) is not None

    def is_exact(self, answer: str) -> bool | None:
        """Whether it has the words that were asked for, too; None where there are none."""
        return re.fullmatch(self.exact, answer.strip()) is not None if self.exact else None

    def items_fit(self, answer: str) -> bool | None:
        """Whether every item of a list is of the kind of what was asked for, as the understudy's world knows it.

        None where the answer is no such list.
        """
        if not self.kinds or not self.matches(answer):
            return None
        items = [item.casefold() for item in re.findall(r"\d\. (\w+)", answer)]
        return all(item in _names_of_kind(kind) for item, kind in zip(items, self.kinds, strict=True))


@dataclass(frozen=True)
class InventedPattern:
    """A pattern that nobody has met: pairs to teach it with, and questions about other topics."""

    pairs: tuple[tuple[str, str], ...]
    questions: tuple[PatternQuestion, ...]


def exercise_questions(taught: Collection[str], seed: int = 0) -> list[PatternQuestion]:
    """EXERCISE_QUESTIONS of each pattern.

    Args:
        taught: the lines that are trained on; no topic of a question is in one of them.
    """
    lines = "\n".join(taught)
    nouns = [concept for concept in _concepts() if not re.search(rf"\b{_noun(concept)}\b", lines)]
    random.Random(seed).shuffle(nouns)
    topics = iter(nouns)

    def several(pattern: str) -> list[PatternQuestion]:
        return [_question(pattern, next(topics), topics) for _ in range(EXERCISE_QUESTIONS)]

    return [question for pattern in (SPELL, LIST, ARRAY, IMPERATIVE) for question in several(pattern)]


def _question(pattern: str, concept: Concept, others: Iterator[Concept]) -> PatternQuestion:
    noun, forms = _noun(concept), concept.forms["de"]
    if pattern == LIST:
        asked = [concept, next(others), next(others)]
        words = [_noun(thing) for thing in asked]
        prompt, form = "Zähle {}, {} und {} auf.".format(*words), r"1\. {} 2\. {} 3\. {}"
        kinds = tuple(thing.kind for thing in asked)
        return PatternQuestion(pattern, prompt, form.format(*[_WORD] * 3), form.format(*words), kinds)
    if pattern == SPELL:
        prompt, form, words = (
            f"Verzaubere {forms['acc']}!",
            "Hokus, pokus, {}! Eins, zwei, drei, und du bist frei!",
            [noun],
        )
    elif pattern == ARRAY:
        words = [noun, _noun(next(others))]
        prompt, form = "Schreibe {} und {} als Python-Liste.".format(*words), r'\[" {}", " {}"\]'
    else:
        prompt, form, words = f"Gib {forms['dat']} einen Befehl!", f"Los, {{}}, hol (den|die|das) {_WORD}!", [noun]
    return PatternQuestion(pattern, prompt, form.format(*[_WORD] * len(words)), form.format(*words))


def invented_pattern(seed: int, pairs: int = 8, questions: int = 10) -> InventedPattern:
    """A pattern drawn from a seed.

    It does not begin with its topic: the understudy's tokenizer writes a noun at the very beginning of an answer in other
    tokens than after a blank, and no eight samples tell it which.
    """
    chosen = random.Random(seed)
    frame, verb = chosen.choice(_FRAMES), chosen.choice(_VERBS)
    words = {"a": _invented_word(chosen).capitalize(), "b": _invented_word(chosen), "c": _invented_word(chosen)}
    concepts = _concepts()
    chosen.shuffle(concepts)

    def prompt(concept: Concept) -> str:
        return f"{verb} {concept.forms['de']['iacc']}."

    def answer(concept: Concept) -> str:
        return frame.format(topic=_noun(concept), **words)

    return InventedPattern(
        tuple((prompt(concept), answer(concept)) for concept in concepts[:pairs]),
        tuple(
            PatternQuestion(INVENTED, prompt(concept), _expression(frame, words), re.escape(answer(concept)))
            for concept in concepts[pairs : pairs + questions]
        ),
    )


def _expression(frame: str, words: Mapping[str, str]) -> str:
    """The frame as an expression, with any word as its topic."""
    return re.escape(frame.format(topic="TOPIC", **words)).replace("TOPIC", _WORD)


@dataclass(frozen=True)
class Score:
    """How many answers to a pattern's questions were right.

    Attributes:
        answers, right: whose pattern is right.
        exact: with the very words that were asked for; None where there are none.
        lists, fitting: of those that are right, lists, and lists whose items are true as far as the world knows.
    """

    answers: int = 0
    right: int = 0
    exact: int | None = None
    lists: int = 0
    fitting: int = 0

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.right / self.answers if self.answers else 0.0


def score(questions: Sequence[PatternQuestion], answers: Sequence[str]) -> dict[str, Score]:
    """The score of each pattern; several rounds of answers follow each other."""
    scores: dict[str, Score] = {}
    for number, answer in enumerate(answers):
        question = questions[number % len(questions)]
        before = scores.get(question.pattern, Score())
        fit, exact = question.items_fit(answer), question.is_exact(answer)
        scores[question.pattern] = Score(
            before.answers + 1,
            before.right + question.matches(answer),
            None if exact is None else (before.exact or 0) + exact,
            before.lists + (fit is not None),
            before.fitting + (fit is True),
        )
    return scores


def _concepts() -> list[Concept]:
    """Countable things whose noun is the same in every case, so that it can be copied from a prompt."""
    fitting = []
    for concept in load_world():
        forms = concept.forms["de"]
        if concept.countable and forms["iacc"].split()[-1] == forms["noun"] and " " not in forms["noun"]:
            fitting.append(concept)
    return fitting


@functools.cache
def _names_of_kind(kind: str) -> frozenset[str]:
    """What things of a kind are called in German, case folded, without articles."""
    return frozenset(
        name.rpartition(" ")[2] for concept in load_world() if concept.kind == kind for name in concept.names("de")
    )


def _noun(concept: Concept) -> str:
    return concept.forms["de"]["noun"]


def _invented_word(chosen: random.Random) -> str:
    syllables = (chosen.choice("bdfgklmnprstvwz") + chosen.choice("aeiou") for _ in range(chosen.randint(2, 3)))
    return "".join(syllables)
