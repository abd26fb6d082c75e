"""Imitate how visitors type: without capitals or punctuation, with typos, with openings, closings and contractions."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

from wmkml.understudy.yaml_files import load_yaml

MANNERS_FILE = Path(__file__).with_name("manners.yaml")
PLACEHOLDER = "\ue000"
"""A private-use character that stands for a word whose letters must not be changed."""


@functools.cache
def load_manners() -> dict[str, Any]:
    """The content of manners.yaml, by language; read once in a process."""
    manners: dict[str, Any] = load_yaml(MANNERS_FILE)
    return manners


def make_typo(rng: random.Random, text: str, at: int) -> str:
    """The text with a random typo at index `at`, which must not be the last one."""
    typos = (
        text[at + 1] + text[at],  # two letters swapped
        text[at],  # the next letter left out
        text[at] * 2 + text[at + 1],  # the letter doubled
        text[at] + rng.choice("aeinrstlou"),  # the next letter replaced
    )
    return text[:at] + rng.choice(typos) + text[at + 2 :]


def type_carelessly(rng: random.Random, prompt: str, noun: str, keep: str = "") -> str:
    """The prompt with random changes of case, punctuation and umlauts, and typos, most often in `noun`.

    `keep` is the word that PLACEHOLDER stands for: it follows the prompt's case, but its letters are not changed.
    """
    chance = rng.random()
    if chance < 0.27:
        prompt, keep = prompt.lower(), keep.lower()
    elif chance < 0.3:
        prompt, keep = prompt.upper(), keep.upper()
    if rng.random() < 0.23:
        prompt = prompt.rstrip("?.!") or prompt
    elif rng.random() < 0.06:
        prompt = prompt.rstrip("?.!") + rng.choice(("??", "???", "!", "!!", "?!", "..", "...", " ?"))
    if rng.random() < 0.04:
        for letter, typed in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
            prompt = prompt.replace(letter, typed)
    begins = prompt.lower().find(noun.lower())
    if len(noun) > 4 and begins >= 0 and rng.random() < 0.12:
        prompt = make_typo(rng, prompt, begins + rng.randrange(1, len(noun) - 1))
    while len(prompt) > 5 and rng.random() < 0.1:
        at = rng.randrange(0, len(prompt) - 2)
        if PLACEHOLDER not in prompt[max(0, at - 1) : at + 3]:
            prompt = make_typo(rng, prompt, at)
    return prompt.replace(PLACEHOLDER, keep)


def speak_casually(rng: random.Random, prompt: str, manners: dict[str, Any]) -> str:
    """The prompt in spoken style: with an opening, a closing, or contractions, each at random."""
    if rng.random() < 0.08:
        opening = rng.choice(manners["openings"])
        if opening.endswith(",") and rng.random() < 0.6:
            prompt = prompt[:1].lower() + prompt[1:]
        prompt = f"{opening} {prompt}"
    if rng.random() < 0.07:
        sentence = prompt.rstrip("?.!")
        prompt = sentence + rng.choice(manners["closings"]) + prompt[len(sentence) :]
    if rng.random() < 0.1:
        for long, short in manners["worn"]:
            prompt = prompt.replace(long, short)
    return prompt
