"""How a character may be read when somebody disguises a word: accents, other alphabets, digits and signs for letters.

Every character is read by itself, whatever stands around it, so that a text may come in any pieces.
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass

DISGUISES = {
    "0": "o",
    "1": "il",
    "3": "e",
    "4": "a",
    "5": "s",
    "7": "t",
    "8": "b",
    "@": "a",
    "$": "s",
    "€": "e",
    "!": "i",
    "|": "il",
}
"""Signs that are written for letters."""

LOOKALIKES = str.maketrans("асеорхуікмтнвαεικνορτυ", "aceopxyikmthbaeiknoptu")
"""Cyrillic and Greek letters that look like Latin ones."""

WILDCARD = "*"
"""A sign that may stand for any letter within a word."""


@dataclass(frozen=True)
class CharacterReading:
    """What a character may be.

    Attributes:
        letters: what it is as letters, in lower case and without accents; more than one for ß and ligatures.
        disguises: the letters that it may stand for, each by itself.
        separates: whether it may stand between words; a sign such as `$` separates or is a letter.
        ignored: whether it is no character of its own: an accent, a soft hyphen, an invisible sign.
    """

    letters: str = ""
    disguises: str = ""
    separates: bool = False
    ignored: bool = False


@functools.lru_cache(maxsize=4096)
def read_character(character: str) -> CharacterReading:
    """How a single character may be read."""
    decomposed = unicodedata.normalize("NFKD", character)
    kept = "".join(sign for sign in decomposed if unicodedata.category(sign) not in ("Mn", "Me", "Cf"))
    if not kept:
        return CharacterReading(ignored=True)
    letters = "".join(sign for sign in kept.casefold().translate(LOOKALIKES) if sign.isalnum())
    return CharacterReading(letters=letters, disguises=DISGUISES.get(kept, ""), separates=not letters)


def fold(text: str) -> str:
    """A text's letters and digits in lower case without accents; whatever separates words as one space each."""
    readings = (read_character(character) for character in text)
    return "".join(reading.letters or ("" if reading.ignored else " ") for reading in readings)
