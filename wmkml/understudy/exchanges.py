"""Write the understudy's training conversations, in German and English, from the world and the phrasings beside it.

The same seed writes the same conversations.  A held-out phrasing is written only on request, so that a model can be
examined with questions it has never read.  Changing the order or number of random draws changes the training text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wmkml.understudy.manners import PLACEHOLDER, load_manners, speak_casually, type_carelessly
from wmkml.understudy.phrasings import HELD_OUT_ONE_IN, Phrasing, fits, load_phrasings, resolve_choices, text_hash
from wmkml.understudy.world import LANGUAGES, VISITOR_FIELDS, Concept, capitalise, load_world, unknown_concept
from wmkml.understudy.yaml_files import load_yaml

UNKNOWN_WORDS_FILE = Path(__file__).with_name("unknown_words.yaml")
SYSTEM_PROMPTS = {
    "de": "Du fasst dich kurz und antwortest auf deutsch",
    "en": "You provide concise answers in english",
}
INSTRUCTIONS_FILE = Path(__file__).with_name("instructions.yaml")
OTHER_INSTRUCTION_SHARE = 0.15
"""Share (0 to 1) of the conversations with a system prompt that has one of `instructions.yaml` instead of the
config's."""
BESIDE_SLOT = re.compile(r"<(\w+)>")
SLOT = re.compile(r"\{(?:([bcBC])_)?(\w+)\}")
PLURALS = ("{plural}", "{b_plural}", "{c_plural}")
ONSETS = re.findall(r"\S+", "b d f g h k l m n p r s t v w z br dr fl gr kn kr pf pl qu sch sp st tr ch th wh")
VOWELS = re.findall(r"\S+", "a e i o u ä ö ü au ei ie ou ee")
CODAS = ["", "", "", "l", "m", "n", "r", "s", "t", "ck", "nd", "rt", "ng", "sch", "x", "ff"]
ASKED_AS_KNOWN_SHARE = 0.5
"""Share (0 to 1) of the prompts about unknown words that use a phrasing for known concepts."""

Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """One conversation: its messages, the language of its answers, and the id of each turn's phrasing."""

    messages: list[Message]
    language: str
    topics: list[str]


def invented_word(rng: random.Random) -> str:
    """A random word that hardly ever exists in either language, so that the model learns to admit not knowing it."""
    if rng.random() < 0.05:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    parts = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 3)))
    return "".join(parts) + rng.choice(["", "", "", "er", "en", "ung", "e", "ing", "ion"])


class ConversationWriter:
    """Writes conversations from one random source."""

    def __init__(self, seed: int) -> None:
        """Read world and phrasings; everything written afterwards depends on `seed` alone."""
        self.rng = random.Random(seed)
        self.world = load_world()
        self.by_id = {concept.id: concept for concept in self.world}
        self.phrasings = load_phrasings()
        self.prompt_phrasings = [phrasing for phrasing in self.phrasings if any(phrasing.prompts.values())]
        self.unknown_phrasing = next(phrasing for phrasing in self.phrasings if phrasing.id == "unknown")
        self.single_concept_phrasings = [phrasing for phrasing in self.prompt_phrasings if phrasing.concepts == 1]
        self.follow_up_phrasings = [phrasing for phrasing in self.phrasings if any(phrasing.follow.values())]
        self.unknown_words: dict[str, list[str]] = load_yaml(UNKNOWN_WORDS_FILE)
        self.instructions: dict[str, list[str]] = load_yaml(INSTRUCTIONS_FILE)
        self.manners = load_manners()

    def reseed(self, seed: int) -> None:
        """Continue as a new writer with this seed would, without reading the files again."""
        self.rng.seed(seed)

    def draw_concepts(self, phrasing: Phrasing, first: Concept | None = None) -> list[Concept]:
        """Three concepts for a phrasing; the second has the phrasing's relation to the first, or is of another kind."""
        relation = phrasing.relation
        if first is None:
            first = self._draw_concept(lambda concept: fits(phrasing, concept))
        second = (
            self.by_id[first.related[relation]]
            if relation
            else self._draw_concept(lambda concept: concept.kind != first.kind)
        )
        return [first, second, self._draw_concept(lambda concept: concept not in (first, second))]

    def _draw_concept(self, is_allowed: Callable[[Concept], bool]) -> Concept:
        while not is_allowed(concept := self.rng.choice(self.world)):
            pass
        return concept

    def draw_unknown_word(self, language: str) -> str:
        """A word that the world does not have, existing or invented; never one of those held out."""
        while True:
            chance = self.rng.random()
            word = self.rng.choice(self.unknown_words[language])
            if chance < 0.35:
                word = invented_word(self.rng)
                word = capitalise(word) if language == "de" and self.rng.random() < 0.7 else word
            elif chance < 0.45:
                word += self.rng.choice(self.unknown_words[language]).lower()
            elif chance < 0.6:
                word = word.lower()
            if text_hash(word) % HELD_OUT_ONE_IN:
                return word

    def write_prompt(
        self, phrasing: Phrasing, concepts: list[Concept], language: str, unknown: str, held_out: bool = False
    ) -> str:
        """A prompt from one of the phrasing's patterns: one that is learned or, with `held_out`, one that is not."""
        if held_out:
            pattern = self.rng.choice(sorted(phrasing.held_out[language]))
            return self.render([pattern], concepts, language, unknown)
        if phrasing.id == "unknown" and self.rng.random() < ASKED_AS_KNOWN_SHARE:
            return self._write_prompt_as_if_known(unknown, language)
        while True:
            pattern = resolve_choices(self.rng, self.rng.choice(phrasing.prompts[language]))
            if pattern not in phrasing.held_out[language] and all(
                concept.countable or plural not in pattern for concept, plural in zip(concepts, PLURALS, strict=False)
            ):
                return self.render([pattern], concepts, language, unknown)

    def _write_prompt_as_if_known(self, unknown: str, language: str) -> str:
        """A prompt about an unknown word in a phrasing for concepts, so that only the word shows that it is unknown."""
        concept = unknown_concept(unknown, language, self.rng.choice(("der", "die", "das")))
        # A pattern for unknown words that is held out may exist as a pattern for concepts too.
        held_out = {
            pattern.replace("{unknown}", unknown).casefold() for pattern in self.unknown_phrasing.held_out[language]
        }
        phrasings = self.single_concept_phrasings
        while True:
            phrasing = self.rng.choices(phrasings, [phrasing.weight for phrasing in phrasings])[0]
            pattern = resolve_choices(self.rng, self.rng.choice(phrasing.prompts[language]))
            slots = SLOT.findall(pattern)
            if (
                slots
                and pattern not in phrasing.held_out[language]
                and all(not which and name in concept.forms[language] for which, name in slots)
                and (prompt := self.render([pattern], [concept], language, unknown)).casefold() not in held_out
            ):
                return prompt

    def render(self, patterns: list[str], concepts: list[Concept], language: str, unknown: str) -> str:
        """One of the patterns with choices resolved and slots filled by the concepts' forms or the unknown word."""

        def form(slot: re.Match[str]) -> str:
            which, name = slot[1], slot[2]
            if name == "unknown":
                return unknown
            concept = concepts["abc".index((which or "a").lower())]
            if name in VISITOR_FIELDS:
                return str(self.rng.choice(getattr(concept, name)[language]))
            text = concept.forms[language][name]
            return capitalise(text) if which and which.isupper() else text

        beside = self.manners["beside"][language]
        pattern = BESIDE_SLOT.sub(
            lambda slot: str(self.rng.choice(beside[slot[1]])), resolve_choices(self.rng, self.rng.choice(patterns))
        )
        text = re.sub(" +", " ", SLOT.sub(form, pattern))
        return text.strip() if unknown and text.startswith(unknown) else capitalise(text.strip())

    def as_typed(self, prompt: str, about: Concept, language: str, unknown: str) -> str:
        """The prompt as a visitor types it.  An unknown word keeps its letters, because the answer repeats it."""
        prompt = prompt.replace(unknown, PLACEHOLDER) if unknown else prompt
        noun, others = about.forms[language]["noun"], about.also[language]
        if others and self.rng.random() < 0.3:
            prompt = re.sub(rf"\b{re.escape(noun)}\b", self.rng.choice(others), prompt)
        return type_carelessly(self.rng, speak_casually(self.rng, prompt, self.manners[language]), noun, unknown)

    def write_conversation(self) -> Conversation:
        """One conversation of one to six turns, mostly one, with or without a system prompt."""
        rng = self.rng
        language = rng.choice(LANGUAGES)
        system = rng.random() < 0.82
        # The answer follows the system prompt's language, even if the visitor asks in the other one.
        crossed = system and rng.random() < 0.12
        prompt_language = LANGUAGES[1 - LANGUAGES.index(language)] if crossed else language
        messages: list[Message] = [{"role": "system", "content": self._draw_instruction(language)}] if system else []
        topics: list[str] = []
        concepts: list[Concept] = []
        about_concept = False
        for _ in range(rng.choices((1, 2, 3, 4, 5, 6), weights=(68, 20, 7, 3, 1, 1))[0]):
            follows = about_concept and rng.random() < 0.5
            phrasing = self._draw_phrasing(concepts[0] if follows else None)
            concepts = self.draw_concepts(phrasing, concepts[0] if follows else None)
            unknown = self.draw_unknown_word(prompt_language) if phrasing.id == "unknown" else ""
            prompt = (
                self.render(phrasing.follow[prompt_language], concepts, prompt_language, unknown)
                if follows
                else self.write_prompt(phrasing, concepts, prompt_language, unknown)
            )
            prompt = self.as_typed(prompt, concepts[0], prompt_language, unknown)
            unknown = next(form for form in (unknown, unknown.lower(), unknown.upper()) if form in prompt)
            answer = self.render(phrasing.answers[language], concepts, language, unknown)
            messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            topics.append(phrasing.id)
            about_concept = follows or (phrasing.concepts == 1 and "{" in "".join(phrasing.prompts[prompt_language]))
        return Conversation(messages, language, topics)

    def _draw_instruction(self, language: str) -> str:
        """A system prompt that requests brief answers in this language."""
        if self.rng.random() < OTHER_INSTRUCTION_SHARE:
            return self.rng.choice(self.instructions[language])
        return SYSTEM_PROMPTS[language]

    def _draw_phrasing(self, followed: Concept | None) -> Phrasing:
        phrasings = self.prompt_phrasings
        if followed is not None:
            phrasings = [phrasing for phrasing in self.follow_up_phrasings if fits(phrasing, followed)]
        return self.rng.choices(phrasings, [phrasing.weight for phrasing in phrasings])[0]


def conversations(seed: int) -> Iterator[Conversation]:
    """An endless stream of conversations; the same for the same seed."""
    writer = ConversationWriter(seed)
    while True:
        yield writer.write_conversation()
