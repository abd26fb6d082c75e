"""Writes the conversations the understudy learns from, German and English, out of the world and the phrasings beside it.

Knows patterns and chance; knows no tokenizer and no model.  The same seed writes the same conversations.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wmkml.understudy.world import LANGUAGES, Concept, capitalised, load_world

PHRASINGS = ("questions.yaml", "talk.yaml")
SYSTEM_PROMPTS = {
    "de": "Du fasst dich kurz und antwortest auf deutsch",
    "en": "You provide concise answers in english",
}
CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
SLOT = re.compile(r"\{(?:([bcBC])_)?(\w+)\}")
ONSETS = re.findall(r"\S+", "b d f g h k l m n p r s t v w z br dr fl gr kn kr pf pl qu sch sp st tr ch th wh")
VOWELS = re.findall(r"\S+", "a e i o u ä ö ü au ei ie ou ee")
CODAS = ["", "", "", "l", "m", "n", "r", "s", "t", "ck", "nd", "rt", "ng", "sch", "x", "ff"]

Message = dict[str, str]


@dataclass(frozen=True)
class Phrasing:
    """One thing that can be said: patterns of prompts and answers in both languages, about `concepts` concepts."""

    id: str
    weight: float
    concepts: int
    prompts: dict[str, list[str]]
    answers: dict[str, list[str]]
    follow: dict[str, list[str]]


@dataclass(frozen=True)
class Conversation:
    """One conversation: its messages, the language of its answers, and the phrasings its turns came from."""

    messages: list[Message]
    language: str
    topics: list[str]


def load_phrasings() -> list[Phrasing]:
    """All phrasings of the files beside this one.  Raises KeyError where an entry lacks a language."""
    found = []
    for name in PHRASINGS:
        for entry in yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8")):
            lines: dict[str, dict[str, list[str]]] = {
                part: {language: _lines(entry[language], part) for language in LANGUAGES}
                for part in ("prompts", "answers", "follow")
            }
            found.append(Phrasing(entry["id"], entry["weight"], entry.get("concepts", 0), **lines))
    return found


def _lines(entry: dict[str, Any], part: str) -> list[str]:
    return str(entry.get(part, "")).splitlines()


def choose(rng: random.Random, pattern: str) -> str:
    """The pattern with every (a|b|c) replaced by one of its alternatives, inner ones first."""
    while found := CHOICE.search(pattern):
        pattern = pattern[: found.start()] + rng.choice(found[1].split("|")) + pattern[found.end() :]
    return pattern


def unknown_word(rng: random.Random) -> str:
    """A word that neither language has (or hardly ever), so that the model learns to admit that it knows only a few."""
    if rng.random() < 0.05:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    parts = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 3)))
    return "".join(parts) + rng.choice(["", "", "", "er", "en", "ung", "e", "ing", "ion"])


def careless(rng: random.Random, prompt: str) -> str:
    """The prompt as a visitor types it: often without care for capitals, marks or letters."""
    chance = rng.random()
    if chance < 0.16:
        prompt = prompt.lower()
    if rng.random() < 0.18:
        prompt = prompt.rstrip("?.!") or prompt
    if rng.random() < 0.04 and len(prompt) > 6:
        at = rng.randrange(1, len(prompt) - 2)
        prompt = prompt[:at] + prompt[at + 1] + prompt[at] + prompt[at + 2 :]
    return prompt


class Writer:
    """Writes conversations without end from one random source."""

    def __init__(self, seed: int) -> None:
        """Read world and phrasings; everything written afterwards follows from `seed` alone."""
        self.rng = random.Random(seed)
        self.world = load_world()
        self.phrasings = load_phrasings()
        self.weights = [phrasing.weight for phrasing in self.phrasings]
        self.following = [phrasing for phrasing in self.phrasings if any(phrasing.follow.values())]
        self.follow_weights = [phrasing.weight for phrasing in self.following]

    def reseed(self, seed: int) -> None:
        """Go on as a new writer with this seed would, without reading the files again."""
        self.rng.seed(seed)

    def _concepts(self) -> list[Concept]:
        """Three concepts; the second of another kind than the first."""
        first = self.rng.choice(self.world)
        second = self.rng.choice([concept for concept in self.world if concept.kind != first.kind])
        third = self.rng.choice([concept for concept in self.world if concept not in (first, second)])
        return [first, second, third]

    def say(self, patterns: list[str], concepts: list[Concept], language: str, unknown: str) -> str:
        """One of the patterns, its choices made and its slots filled with the forms of the concepts or the unknown word."""

        def form(found: re.Match[str]) -> str:
            which, name = found[1], found[2]
            if name.lower() == "unknown":
                return capitalised(unknown) if name[0] == "U" else unknown
            text = concepts["abc".index((which or "a").lower())].forms[language][name]
            return capitalised(text) if which and which.isupper() else text

        text = SLOT.sub(form, choose(self.rng, self.rng.choice(patterns)))
        return capitalised(text.strip())

    def conversation(self) -> Conversation:
        """One conversation of one to six turns, mostly one, with or without a system prompt."""
        rng = self.rng
        language = rng.choice(LANGUAGES)
        system = rng.random() < 0.82
        # With a system prompt the answer follows its language; the visitor may well ask in the other one.
        crossed = system and rng.random() < 0.12
        asked = LANGUAGES[1 - LANGUAGES.index(language)] if crossed else language
        messages: list[Message] = [{"role": "system", "content": SYSTEM_PROMPTS[language]}] if system else []
        topics: list[str] = []
        turns = rng.choices((1, 2, 3, 4, 5, 6), weights=(64, 18, 8, 4, 3, 3))[0]
        concepts: list[Concept] = []
        about_concept = False
        for _ in range(turns):
            follows = about_concept and rng.random() < 0.5
            if follows:
                phrasing = rng.choices(self.following, self.follow_weights)[0]
                prompts = phrasing.follow[asked]
            else:
                phrasing = rng.choices(self.phrasings, self.weights)[0]
                prompts = phrasing.prompts[asked]
                concepts = self._concepts()
            unknown = unknown_word(rng)
            prompt = careless(rng, self.say(prompts, concepts, asked, unknown))
            answer = self.say(phrasing.answers[language], concepts, language, unknown)
            messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            topics.append(phrasing.id)
            named_alone = any("{" in pattern for pattern in prompts) and phrasing.concepts == 1
            about_concept = follows or named_alone
        return Conversation(messages, language, topics)


def conversations(seed: int) -> Iterator[Conversation]:
    """An endless stream of conversations; the same for the same seed."""
    writer = Writer(seed)
    while True:
        yield writer.conversation()
