"""How visitors type: without care for capitals and marks, with slips of the finger, with openings and words worn short.

Knows letters and lists; knows no concept, no phrasing and no model.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

import yaml

MANNERS = Path(__file__).with_name("manners.yaml")
HELD = "\ue000"
"""Stands for a word that no slip may touch."""


@functools.cache
def load_manners() -> dict[str, Any]:
    """How visitors say things, by language, and of what they speak beside (see manners.yaml); read once in a process."""
    found: dict[str, Any] = yaml.safe_load(MANNERS.read_text(encoding="utf-8"))
    return found


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
