"""The poems: twenty-five haiku that a model writes, or those of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.corpora.encodings import TextFile, detect_encoding
from wmkml.corpora.pairs import CorpusError
from wmkml.generation.answering import answer

if TYPE_CHECKING:
    from wmkml.generation.decoding import Decoding
    from wmkml.generation.speaker import Speaker

COUNT = 25

MOST_LINES = 400
"""Lines of a file that are read: a page of more shows nothing."""

REQUESTS = {"de": "Schreibe ein Haiku über {}.", "en": "Write a haiku about {}."}
SUBJECTS = {
    "de": (
        *("den Mond", "die Katze", "den Regen", "das Meer", "den Schnee", "die Sprache", "das Haus", "die Nacht"),
        *("den Baum", "die Zeit", "das Brot", "den Wind", "die Rose", "den Vogel", "das Licht", "die Stadt"),
        *("den Fluss", "die Uhr", "das Kind", "den Herbst", "die Stille", "den Berg", "das Wort", "die Biene"),
        "den Stern",
    ),
    "en": (
        *("the moon", "the cat", "the rain", "the sea", "the snow", "language", "the house", "the night"),
        *("the tree", "time", "bread", "the wind", "the rose", "the bird", "the light", "the city"),
        *("the river", "the clock", "the child", "autumn", "silence", "the mountain", "the word", "the bee"),
        "the star",
    ),
}
"""What the haiku are about; with more of them than subjects, they come round again with another seed."""

_PAUSE = re.compile(r"(?<=[.,;:!?…])\s+")


class PoetryError(ValueError):
    """No poem can be made of this.  The message says what was wrong, and what to do."""


@dataclass(frozen=True)
class Poem:
    """A poem.

    Attributes:
        title: what it is about, or its number in the file.
        lines: without empty ones.
    """

    title: str
    lines: tuple[str, ...]


def write_haiku(
    speaker: Speaker,
    decoding: Decoding,
    count: int = COUNT,
    language: str = "de",
    on_written: Callable[[int, int], None] = lambda done, total: None,
) -> list[Poem]:
    """Haiku of a model, each on another subject; the n-th is drawn with the seed's n-th successor.

    Raises:
        PoetryError: the count or language cannot be used.
    """
    if count < 1:
        raise PoetryError(f"--count: {count} is not allowed; allowed: at least 1.")
    if language not in REQUESTS:
        raise PoetryError(f"--language: {language} is not known; allowed: {', '.join(REQUESTS)}.")
    subjects, poems = SUBJECTS[language], []
    for index in range(count):
        subject = subjects[index % len(subjects)]
        request = [{"role": "user", "content": REQUESTS[language].format(subject)}]
        (haiku, *_) = answer(speaker, request, replace(decoding, seed=decoding.seed + index))
        poems.append(Poem(subject, in_lines(haiku.text)))
        on_written(index + 1, count)
    return poems


def read_poems(path: Path) -> list[Poem]:
    """The poems of a text file: stanzas between empty lines; where there is none, each line is a poem.

    Raises:
        PoetryError: it cannot be read, or is empty.
    """
    try:
        with TextFile(path, detect_encoding(path)).open() as stream:
            text = stream.read()
    except CorpusError as error:
        raise PoetryError(str(error)) from None
    except OSError as error:
        raise PoetryError(f"{path} cannot be read: {error.strerror}.") from None
    stanzas = [stanza.strip() for stanza in re.split(r"\n[ \t]*\n", text) if stanza.strip()]
    if not stanzas:
        raise PoetryError(f"{path} is empty: there is no poem in it.")
    if len(stanzas) == 1 and "\n" in stanzas[0] and stanzas[0].count("\n") > 2:
        stanzas = [line.strip() for line in stanzas[0].splitlines() if line.strip()]
    if sum(stanza.count("\n") + 1 for stanza in stanzas) > MOST_LINES:
        raise PoetryError(f"{path} has more than {MOST_LINES} lines. Give a file of some poems.")
    return [Poem(str(number), in_lines(stanza)) for number, stanza in enumerate(stanzas, 1)]


def in_lines(text: str) -> tuple[str, ...]:
    """A poem's lines; what was written as prose is broken behind its marks of punctuation, as a haiku is spoken."""
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        lines = _PAUSE.split(lines[0])
    return tuple(lines) or ("",)
