"""Writes the conversations the understudy learns from, German and English, out of the world and the phrasings beside it.

Knows patterns and chance; knows no tokenizer and no model.  The same seed writes the same conversations.
A held-out way of asking is written only where that is asked for, so that a model can be examined with questions it never read.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from wmkml.understudy.manners import HELD, careless, chatty, load_manners
from wmkml.understudy.phrasings import HELD_OUT, Phrasing, chance_of, choose, fits, load_phrasings
from wmkml.understudy.world import LANGUAGES, SPOKEN, Concept, capitalised, load_world, stranger

UNKNOWN_WORDS = Path(__file__).with_name("unknown_words.yaml")
SYSTEM_PROMPTS = {
    "de": "Du fasst dich kurz und antwortest auf deutsch",
    "en": "You provide concise answers in english",
}
INSTRUCTIONS = Path(__file__).with_name("instructions.yaml")
OTHERWISE = 0.15
"""Of the conversations with a system prompt the share that has one of `instructions.yaml` in place of the config's."""
BESIDE = re.compile(r"<(\w+)>")
SLOT = re.compile(r"\{(?:([bcBC])_)?(\w+)\}")
PLURALS = ("{plural}", "{b_plural}", "{c_plural}")
ONSETS = re.findall(r"\S+", "b d f g h k l m n p r s t v w z br dr fl gr kn kr pf pl qu sch sp st tr ch th wh")
VOWELS = re.findall(r"\S+", "a e i o u ä ö ü au ei ie ou ee")
CODAS = ["", "", "", "l", "m", "n", "r", "s", "t", "ck", "nd", "rt", "ng", "sch", "x", "ff"]
STRANGERS = 0.5
"""Of the prompts about unknown words the share that is asked as about known ones."""

Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """One conversation: its messages, the language of its answers, and the phrasings its turns came from."""

    messages: list[Message]
    language: str
    topics: list[str]


def invented_word(rng: random.Random) -> str:
    """A word that neither language has (or hardly ever), so that the model learns to admit that it knows only a few."""
    if rng.random() < 0.05:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    parts = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 3)))
    return "".join(parts) + rng.choice(["", "", "", "er", "en", "ung", "e", "ing", "ion"])


class Writer:
    """Writes conversations without end from one random source."""

    def __init__(self, seed: int) -> None:
        """Read world and phrasings; everything written afterwards follows from `seed` alone."""
        self.rng = random.Random(seed)
        self.world = load_world()
        self.by_id = {concept.id: concept for concept in self.world}
        self.phrasings = load_phrasings()
        self.asking = [phrasing for phrasing in self.phrasings if any(phrasing.prompts.values())]
        self.about_unknown = next(phrasing for phrasing in self.phrasings if phrasing.id == "unknown")
        self.about_one = [phrasing for phrasing in self.asking if phrasing.concepts == 1]
        self.following = [phrasing for phrasing in self.phrasings if any(phrasing.follow.values())]
        self.unknown_words: dict[str, list[str]] = yaml.safe_load(UNKNOWN_WORDS.read_text(encoding="utf-8"))
        self.instructions: dict[str, list[str]] = yaml.safe_load(INSTRUCTIONS.read_text(encoding="utf-8"))
        self.manners = load_manners()

    def reseed(self, seed: int) -> None:
        """Go on as a new writer with this seed would, without reading the files again."""
        self.rng.seed(seed)

    def concepts(self, phrasing: Phrasing, first: Concept | None = None) -> list[Concept]:
        """Three concepts for a phrasing: the second of another kind than the first, or the one related to it."""
        relation = phrasing.relation
        if first is None:
            first = self._drawn(lambda one: fits(phrasing, one))
        second = self.by_id[first.related[relation]] if relation else self._drawn(lambda one: one.kind != first.kind)
        return [first, second, self._drawn(lambda one: one not in (first, second))]

    def _drawn(self, wanted: Callable[[Concept], bool]) -> Concept:
        while not wanted(one := self.rng.choice(self.world)):
            pass
        return one

    def unknown_word(self, language: str) -> str:
        """A word that is not of this world: one that people use, or one that nobody does."""
        while True:
            chance = self.rng.random()
            word = self.rng.choice(self.unknown_words[language])
            if chance < 0.35:
                word = invented_word(self.rng)
                word = capitalised(word) if language == "de" and self.rng.random() < 0.7 else word
            elif chance < 0.45:
                word += self.rng.choice(self.unknown_words[language]).lower()
            elif chance < 0.6:
                word = word.lower()
            if chance_of(word) % HELD_OUT:
                return word

    def ask(
        self, phrasing: Phrasing, concepts: list[Concept], language: str, unknown: str, unheard: bool = False
    ) -> str:
        """A prompt in one of the phrasing's ways of asking: one that is learned or, `unheard`, one that is not."""
        if unheard:
            way = self.rng.choice(sorted(phrasing.unheard[language]))
            return self.say([way], concepts, language, unknown)
        if phrasing.id == "unknown" and self.rng.random() < STRANGERS:
            return self._ask_as_if_known(unknown, language)
        while True:
            way = choose(self.rng, self.rng.choice(phrasing.prompts[language]))
            if way not in phrasing.unheard[language] and all(
                one.countable or plural not in way for one, plural in zip(concepts, PLURALS, strict=False)
            ):
                return self.say([way], concepts, language, unknown)

    def _ask_as_if_known(self, unknown: str, language: str) -> str:
        """A prompt about an unknown word, asked as one asks about a concept: the word alone must tell that it is not known."""
        concept = stranger(unknown, language, self.rng.choice(("der", "die", "das")))
        # A way of asking about unknown words that is held out may be one of asking about known ones as well.
        unheard = {way.replace("{unknown}", unknown).casefold() for way in self.about_unknown.unheard[language]}
        while True:
            phrasing = self.rng.choices(self.about_one, [one.weight for one in self.about_one])[0]
            way = choose(self.rng, self.rng.choice(phrasing.prompts[language]))
            slots = SLOT.findall(way)
            if (
                slots
                and way not in phrasing.unheard[language]
                and all(not which and name in concept.forms[language] for which, name in slots)
                and (prompt := self.say([way], [concept], language, unknown)).casefold() not in unheard
            ):
                return prompt

    def say(self, patterns: list[str], concepts: list[Concept], language: str, unknown: str) -> str:
        """One of the patterns, its choices made and its slots filled with the forms of the concepts or the unknown word."""

        def form(found: re.Match[str]) -> str:
            which, name = found[1], found[2]
            if name == "unknown":
                return unknown
            concept = concepts["abc".index((which or "a").lower())]
            if name in SPOKEN:
                return str(self.rng.choice(getattr(concept, name)[language]))
            text = concept.forms[language][name]
            return capitalised(text) if which and which.isupper() else text

        beside = self.manners["beside"][language]
        said = BESIDE.sub(
            lambda found: str(self.rng.choice(beside[found[1]])), choose(self.rng, self.rng.choice(patterns))
        )
        text = re.sub(" +", " ", SLOT.sub(form, said))
        return text.strip() if unknown and text.startswith(unknown) else capitalised(text.strip())

    def typed(self, prompt: str, about: Concept, language: str, unknown: str) -> str:
        """The prompt in a visitor's manner.  An unknown word keeps its letters, for the answer repeats it."""
        prompt = prompt.replace(unknown, HELD) if unknown else prompt
        noun, others = about.forms[language]["noun"], about.also[language]
        if others and self.rng.random() < 0.3:
            prompt = re.sub(rf"\b{re.escape(noun)}\b", self.rng.choice(others), prompt)
        return careless(self.rng, chatty(self.rng, prompt, self.manners[language]), noun, unknown)

    def conversation(self) -> Conversation:
        """One conversation of one to six turns, mostly one, with or without a system prompt."""
        rng = self.rng
        language = rng.choice(LANGUAGES)
        system = rng.random() < 0.82
        # With a system prompt the answer follows its language; the visitor may well ask in the other one.
        crossed = system and rng.random() < 0.12
        asked = LANGUAGES[1 - LANGUAGES.index(language)] if crossed else language
        messages: list[Message] = [{"role": "system", "content": self._instruction(language)}] if system else []
        topics: list[str] = []
        concepts: list[Concept] = []
        about_concept = False
        for _ in range(rng.choices((1, 2, 3, 4, 5, 6), weights=(68, 20, 7, 3, 1, 1))[0]):
            follows = about_concept and rng.random() < 0.5
            phrasing = self._phrasing(concepts[0] if follows else None)
            concepts = self.concepts(phrasing, concepts[0] if follows else None)
            unknown = self.unknown_word(asked) if phrasing.id == "unknown" else ""
            prompt = (
                self.say(phrasing.follow[asked], concepts, asked, unknown)
                if follows
                else self.ask(phrasing, concepts, asked, unknown)
            )
            prompt = self.typed(prompt, concepts[0], asked, unknown)
            unknown = next(form for form in (unknown, unknown.lower(), unknown.upper()) if form in prompt)
            answer = self.say(phrasing.answers[language], concepts, language, unknown)
            messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            topics.append(phrasing.id)
            about_concept = follows or (phrasing.concepts == 1 and "{" in "".join(phrasing.prompts[asked]))
        return Conversation(messages, language, topics)

    def _instruction(self, language: str) -> str:
        """A system prompt that asks for brief answers in this language."""
        if self.rng.random() < OTHERWISE:
            return self.rng.choice(self.instructions[language])
        return SYSTEM_PROMPTS[language]

    def _phrasing(self, followed: Concept | None) -> Phrasing:
        among = self.asking
        if followed is not None:
            among = [one for one in self.following if fits(one, followed)]
        return self.rng.choices(among, [one.weight for one in among])[0]


def conversations(seed: int) -> Iterator[Conversation]:
    """An endless stream of conversations; the same for the same seed."""
    writer = Writer(seed)
    while True:
        yield writer.conversation()
