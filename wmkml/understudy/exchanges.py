"""Writes the conversations the understudy learns from, German and English, out of the world and the phrasings beside it.

Knows patterns and chance; knows no tokenizer and no model.  The same seed writes the same conversations.
A tenth of all ways of asking is held out: it is written only where that is asked for, so that a model can be examined
with questions it never read.
"""

from __future__ import annotations

import functools
import random
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wmkml.understudy.world import LANGUAGES, Concept, capitalised, load_world

PHRASINGS = ("questions.yaml", "talk.yaml")
MANNERS = Path(__file__).with_name("manners.yaml")
UNKNOWN_WORDS = Path(__file__).with_name("unknown_words.yaml")
HELD_OUT = 10
"""One of so many phrasings of a question, and of so many unknown words, is not learned."""
SYSTEM_PROMPTS = {
    "de": "Du fasst dich kurz und antwortest auf deutsch",
    "en": "You provide concise answers in english",
}
CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
SLOT = re.compile(r"\{(?:([bcBC])_)?(\w+)\}")
PLURALS = ("{plural}", "{b_plural}", "{c_plural}")
ONSETS = re.findall(r"\S+", "b d f g h k l m n p r s t v w z br dr fl gr kn kr pf pl qu sch sp st tr ch th wh")
VOWELS = re.findall(r"\S+", "a e i o u ä ö ü au ei ie ou ee")
CODAS = ["", "", "", "l", "m", "n", "r", "s", "t", "ck", "nd", "rt", "ng", "sch", "x", "ff"]
HELD = "\ue000"
"""Stands for a word that no slip may touch."""

Message = dict[str, str]


@dataclass(frozen=True)
class Phrasing:
    """One thing that can be said: patterns of prompts and answers in both languages, about `concepts` concepts.

    Attributes:
        relation: the second concept is the one that the first names under it (see `Concept.related`); "": any.
        requires: a form that not every concept has, and that the first must have; "": none.
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


@dataclass(frozen=True)
class Conversation:
    """One conversation: its messages, the language of its answers, and the phrasings its turns came from."""

    messages: list[Message]
    language: str
    topics: list[str]


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
        frozenset(sorted(ways, key=lambda way: _chance(way.replace("{b_", "{")))[: -(-len(ways) // HELD_OUT)])
        if len(ways) > 1
        else frozenset()
    )


def _chance(text: str) -> int:
    return zlib.crc32(text.casefold().encode())


def _lines(entry: dict[str, Any], part: str) -> list[str]:
    return str(entry.get(part, "")).splitlines()


def fits(phrasing: Phrasing, concept: Concept) -> bool:
    """Whether the phrasing can be about this concept."""
    related = not phrasing.relation or phrasing.relation in concept.related
    return related and (not phrasing.requires or bool(concept.forms["en"][phrasing.requires]))


def choose(rng: random.Random, pattern: str) -> str:
    """The pattern with every (a|b|c) replaced by one of its alternatives, inner ones first."""
    while found := CHOICE.search(pattern):
        pattern = pattern[: found.start()] + rng.choice(found[1].split("|")) + pattern[found.end() :]
    return pattern


def invented_word(rng: random.Random) -> str:
    """A word that neither language has (or hardly ever), so that the model learns to admit that it knows only a few."""
    if rng.random() < 0.05:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    parts = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 3)))
    return "".join(parts) + rng.choice(["", "", "", "er", "en", "ung", "e", "ing", "ion"])


def slip(rng: random.Random, text: str, at: int) -> str:
    """The text with a slip of the finger at this letter, which must not be the last one."""
    slips = (
        text[at + 1] + text[at],  # two letters swapped
        text[at],  # one left out
        text[at] * 2 + text[at + 1],  # one doubled
        text[at] + rng.choice("aeinrstlou"),  # another one struck
    )
    return text[:at] + rng.choice(slips) + text[at + 2 :]


def careless(rng: random.Random, prompt: str, noun: str, keep: str = "") -> str:
    """The prompt as a visitor types it: often without care for capitals, marks or letters, those of its noun above all.

    `keep` is the word that HELD stands for: no letter of it is changed, but it has capitals or none as the rest has.
    """
    chance = rng.random()
    if chance < 0.18:
        prompt, keep = prompt.lower(), keep.lower()
    elif chance < 0.19:
        prompt, keep = prompt.upper(), keep.upper()
    if rng.random() < 0.18:
        prompt = prompt.rstrip("?.!") or prompt
    elif rng.random() < 0.06:
        prompt = prompt.rstrip("?.!") + rng.choice(("??", "???", "!", "!!", "?!", "..", "...", " ?"))
    if rng.random() < 0.04:
        for letter, typed in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
            prompt = prompt.replace(letter, typed)
    begins = prompt.casefold().find(noun.casefold())
    if len(noun) > 4 and begins >= 0 and rng.random() < 0.06:
        prompt = slip(rng, prompt, begins + rng.randrange(1, len(noun) - 1))
    while len(prompt) > 5 and rng.random() < 0.1:
        at = rng.randrange(0, len(prompt) - 2)
        if HELD not in prompt[max(0, at - 1) : at + 3]:
            prompt = slip(rng, prompt, at)
    return prompt.replace(HELD, keep)


def chatty(rng: random.Random, prompt: str, manners: dict[str, Any]) -> str:
    """The prompt as it is said rather than written: with an opening, something added, or words worn short."""
    if rng.random() < 0.08:
        opening = rng.choice(manners["openings"])
        if opening.endswith(",") and rng.random() < 0.6:
            prompt = prompt[:1].lower() + prompt[1:]
        prompt = f"{opening} {prompt}"
    if rng.random() < 0.07:
        said = prompt.rstrip("?.!")
        prompt = said + rng.choice(manners["closings"]) + prompt[len(said) :]
    if rng.random() < 0.1:
        for long, short in manners["worn"]:
            prompt = prompt.replace(long, short)
    return prompt


class Writer:
    """Writes conversations without end from one random source."""

    def __init__(self, seed: int) -> None:
        """Read world and phrasings; everything written afterwards follows from `seed` alone."""
        self.rng = random.Random(seed)
        self.world = load_world()
        self.by_id = {concept.id: concept for concept in self.world}
        self.phrasings = load_phrasings()
        self.asking = [phrasing for phrasing in self.phrasings if any(phrasing.prompts.values())]
        self.following = [phrasing for phrasing in self.phrasings if any(phrasing.follow.values())]
        self.unknown_words: dict[str, list[str]] = yaml.safe_load(UNKNOWN_WORDS.read_text(encoding="utf-8"))
        self.manners: dict[str, dict[str, Any]] = yaml.safe_load(MANNERS.read_text(encoding="utf-8"))

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
            if _chance(word) % HELD_OUT:
                return word

    def ask(
        self, phrasing: Phrasing, concepts: list[Concept], language: str, unknown: str, unheard: bool = False
    ) -> str:
        """A prompt in one of the phrasing's ways of asking: one that is learned or, `unheard`, one that is not."""
        if unheard:
            way = self.rng.choice(sorted(phrasing.unheard[language]))
            return self.say([way], concepts, language, unknown)
        while True:
            way = choose(self.rng, self.rng.choice(phrasing.prompts[language]))
            if way not in phrasing.unheard[language] and all(
                one.countable or plural not in way for one, plural in zip(concepts, PLURALS, strict=False)
            ):
                return self.say([way], concepts, language, unknown)

    def say(self, patterns: list[str], concepts: list[Concept], language: str, unknown: str) -> str:
        """One of the patterns, its choices made and its slots filled with the forms of the concepts or the unknown word."""

        def form(found: re.Match[str]) -> str:
            which, name = found[1], found[2]
            if name == "unknown":
                return unknown
            text = self.rng.choice(concepts["abc".index((which or "a").lower())].forms[language][name].split("|"))
            return capitalised(text) if which and which.isupper() else text

        text = re.sub(" +", " ", SLOT.sub(form, choose(self.rng, self.rng.choice(patterns))))
        return text.strip() if unknown and text.startswith(unknown) else capitalised(text.strip())

    def typed(self, prompt: str, about: Concept, language: str, unknown: str) -> str:
        """The prompt in a visitor's manner.  An unknown word keeps its letters, for the answer repeats it."""
        prompt = prompt.replace(unknown, HELD) if unknown else prompt
        noun, others = about.forms[language]["noun"], about.also[language]
        if others and self.rng.random() < 0.15:
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
        messages: list[Message] = [{"role": "system", "content": SYSTEM_PROMPTS[language]}] if system else []
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
