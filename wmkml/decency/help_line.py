"""Recognises that somebody writes of harming themselves, by a list of phrases, so that a line of help can be shown.

It knows phrases and understands nothing: it misses whoever says it otherwise, and answers some who mean a film.  A phrase
is words in their order; `…` in it stands for up to MAX_BETWEEN other words.  Where a phrase of `unless` stands in the same
sentence, nothing is recognised there: to die of laughter is another thing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from wmkml.decency.characters import fold
from wmkml.decency.word_lists import HELP_PREFIX, WordListError, list_files, read_yaml, spellings, texts_of

MAX_BETWEEN = 3
"""Words that may stand where a phrase has `…`."""

BETWEEN = "…"

SENTENCE_END = re.compile(r"[.!?;:\n]+")

APOSTROPHE = re.compile("['’]")

KEYS = {"phrases", "unless"}


class HelpPhrases:
    """The phrases that a line of help answers, and those that mean something else."""

    def __init__(self, phrases: Sequence[str], unless: Sequence[str]) -> None:
        self._phrases, self._unless = _pattern(phrases), _pattern(unless)

    def recognised(self, text: str) -> bool:
        """Whether a phrase is in a sentence of the text that holds none of the others."""
        sentences = (_folded(sentence) for sentence in SENTENCE_END.split(text))
        return any(self._phrases.search(sentence) and not self._unless.search(sentence) for sentence in sentences)


def load_help_phrases(folder: Path) -> HelpPhrases:
    """The phrases of all files `help_LANGUAGE.yaml` that apply, together: people write in another language than they chose.

    Args:
        folder: the installation's own lists; it may not exist.

    Raises:
        WordListError: a file has another form.
    """
    phrases: list[str] = []
    unless: list[str] = []
    for path in list_files(folder):
        if path.name.startswith(HELP_PREFIX):
            content = read_yaml(path)
            if unknown := [str(key) for key in content if key not in KEYS]:
                raise WordListError(f"{path}: {unknown[0]!r} is no key of such a list; it has `phrases` and `unless`.")
            phrases += texts_of(path, "phrases", content.get("phrases"))
            unless += texts_of(path, "unless", content.get("unless"))
    return HelpPhrases(phrases, unless)


def _folded(text: str) -> str:
    """Words in lower case with one space between them, and without apostrophes, which many leave out."""
    return " ".join(fold(APOSTROPHE.sub("", text)).split())


def _pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the phrases in a folded sentence; without phrases, nothing."""
    alternatives = {_alternative(spelling) for phrase in phrases for spelling in spellings(phrase)}
    return re.compile(rf"(?<!\S)(?:{'|'.join(sorted(alternatives))})(?!\S)" if alternatives else r"(?!)")


def _alternative(phrase: str) -> str:
    between = rf"(?: \S+){{0,{MAX_BETWEEN}}} "
    parts = (re.escape(_folded(part)) for part in phrase.split(BETWEEN))
    return between.join(part for part in parts if part)
