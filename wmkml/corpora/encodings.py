"""The encoding of a text file, told by its bytes: UTF-8, UTF-16 and Latin-1 are read, others refused by name.

The whole file is looked through once, in pieces, since a single letter near its end may be what tells them apart.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wmkml.corpora.pairs import CorpusError

CHUNK = 1 << 20
"""Bytes looked at together."""

MAX_LINE = 1 << 22
"""The longest line in characters; a longer one is refused, and never in memory as a whole."""

HEAD = 1 << 16
"""Bytes at the beginning of a file by which its form is told."""

KNOWN_FILES = (
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"PK\x03\x04", "a zip archive or an Office file: unpack it, or save the table as CSV UTF-8"),
    (b"\xfd7zXZ\x00", "an xz archive: unpack it first"),
    (b"(\xb5/\xfd", "a Zstandard archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"%PDF", "a PDF: save its text as .txt first"),
    (b"\xd0\xcf\x11\xe0", "an old Office file: save the table as CSV UTF-8"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"ARROW1", "an Arrow file: save it as Parquet"),
)

_MARKED = {
    "utf-8": ("utf-8-sig", codecs.BOM_UTF8),
    "utf-16-le": ("utf-16", codecs.BOM_UTF16_LE),
    "utf-16-be": ("utf-16", codecs.BOM_UTF16_BE),
    "utf-32-le": ("utf-32", codecs.BOM_UTF32_LE),
    "utf-32-be": ("utf-32", codecs.BOM_UTF32_BE),
}
"""By the name of an encoding, the one that reads over its byte order mark, and that mark."""

# Windows-1252, the Latin-1 that programs write: letters, and the typographic characters of its second rows.
_LETTERS = frozenset({*range(0xC0, 0x100)} - {0xD7, 0xF7})
_TYPOGRAPHY = frozenset(b"\x80\x82\x84\x85\x91\x92\x93\x94\x95\x96\x97\xa0\xa7\xa9\xab\xae\xb0\xb2\xb3\xb4\xb7\xbb\xbd")
_UNDEFINED = frozenset(b"\x81\x8d\x8f\x90\x9d")
_HIGH = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True)
class Encoding:
    """How a file's bytes become text.

    Attributes:
        name: for people.
        codec: Python's name of it.
        errors: what becomes of a byte that does not fit; `surrogateescape` leaves a mark by which its line is refused.
    """

    name: str
    codec: str
    errors: str = "surrogateescape"


@dataclass
class Position:
    """How far a file, or several, were read, in bytes; `total` 0: unknown."""

    done: int = 0
    total: int = 0


@dataclass
class TextFile:
    """A text file with its encoding, which can be opened again and again."""

    path: Path
    encoding: Encoding
    position: Position = field(default_factory=Position)

    def open(self) -> io.TextIOWrapper:
        """Open it for reading; every kind of line end becomes `\\n`.

        Raises:
            OSError: it does not exist or may not be read.
        """
        raw = io.BufferedReader(_CountedFile(self.path, self.position), CHUNK)
        return io.TextIOWrapper(raw, encoding=self.encoding.codec, errors=self.encoding.errors, newline=None)

    def head(self) -> str:
        """Its first characters, as far as the form is told by them."""
        with io.TextIOWrapper(
            self.path.open("rb"), encoding=self.encoding.codec, errors=self.encoding.errors
        ) as stream:
            return stream.read(HEAD)

    def lines(self) -> Iterator[tuple[int, str | None]]:
        """Every line without its end, with its number from 1; None in place of one longer than MAX_LINE."""
        number = 0
        with self.open() as stream:
            while line := stream.readline(MAX_LINE):
                number += 1
                if line.endswith("\n"):
                    yield number, line[:-1]
                elif len(line) < MAX_LINE:
                    yield number, line
                else:
                    while (more := stream.readline(MAX_LINE)) and not more.endswith("\n"):
                        pass
                    yield number, None


class _CountedFile(io.FileIO):
    """Counts the bytes that are read of it."""

    def __init__(self, path: Path, position: Position) -> None:
        super().__init__(path)
        self._position = position

    def readinto(self, buffer: object) -> int | None:
        count = super().readinto(buffer)  # type: ignore[arg-type]  # typeshed hides the buffer protocol on 3.11
        self._position.done += count or 0
        return count


def named_encoding(name: str, path: Path) -> Encoding:
    """The encoding that somebody names for a file; a byte order mark at its beginning is no text of it.

    Raises:
        OSError: the file may not be read.
        CorpusError: there is none of that name.
    """
    try:
        codec = codecs.lookup(name)
        # `rot13` and the like are codecs too, but none of text.
        if not codec._is_text_encoding:
            raise LookupError
    except (LookupError, ValueError):
        raise CorpusError(f"There is no encoding {name!r}; for instance utf-8, utf-16, latin-1 or cp1252.") from None
    with path.open("rb") as file:
        head = file.read(4)
    marked, mark = _MARKED.get(codec.name, ("", b""))
    if mark and head.startswith(mark):
        return Encoding(codec.name, marked, "surrogateescape" if codec.name == "utf-8" else "replace")
    escapes = codec.name.startswith(("utf-8", "cp", "iso", "latin", "ascii", "mac"))
    return Encoding(codec.name, codec.name, "surrogateescape" if escapes else "replace")


def detect_encoding(path: Path) -> Encoding:
    """Tell a file's encoding by its bytes.

    Raises:
        CorpusError: it is no text, or text in an encoding that is not read; the message names it where it can.
        OSError: it does not exist or may not be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    for magic, description in KNOWN_FILES:
        if head.startswith(magic):
            raise CorpusError(f"{path} is no text but {description}.")
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise CorpusError(f"{path} is saved as UTF-32; save it as UTF-8.")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Encoding("UTF-16", "utf-16", "replace")
    if b"\x00" in head:
        return _utf16_without_mark(path, head)
    counts = _count_high_bytes(path)
    if not counts.broken:
        return Encoding("UTF-8", "utf-8-sig")
    # Letters of Latin-1 next to each other are UTF-8 by chance only rarely.  So this is a UTF-8 text with broken lines:
    # those are refused, the others are read.
    if 2 * counts.sequences >= counts.broken:
        return Encoding("UTF-8", "utf-8-sig")
    return _latin1(path, counts)


@dataclass
class _HighBytes:
    """Counts over a file: UTF-8 sequences of several bytes; bytes that belong to none; and bytes of 0x80 or more by kind.

    `adjacent`: those in runs of three or more.
    """

    sequences: int = 0
    broken: int = 0
    high: int = 0
    adjacent: int = 0
    letters: int = 0
    typography: int = 0
    undefined: int = 0


def _count_high_bytes(path: Path) -> _HighBytes:
    counts = _HighBytes()
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if chunk.isascii() and not decoder.getstate()[0]:
                continue
            text = decoder.decode(chunk)
            _count_characters(counts, text)
            if counts.broken:
                _count_bytes(counts, chunk)
        _count_characters(counts, decoder.decode(b"", final=True))
    return counts


def _count_characters(counts: _HighBytes, text: str) -> None:
    if text.isascii():
        return
    broken = sum(map(len, re.findall("[\udc80-\udcff]+", text)))
    counts.broken += broken
    counts.sequences += sum(map(len, re.findall("[^\x00-\x7f]+", text))) - broken


def _count_bytes(counts: _HighBytes, chunk: bytes) -> None:
    for run in _HIGH.findall(chunk):
        counts.high += len(run)
        counts.adjacent += len(run) if len(run) > 2 else 0
        for byte in run:
            counts.letters += byte in _LETTERS
            counts.typography += byte in _TYPOGRAPHY
            counts.undefined += byte in _UNDEFINED


def _latin1(path: Path, counts: _HighBytes) -> Encoding:
    """Latin-1 where its bytes can be that: letters with accents, mostly alone between plain ones.

    In Cyrillic, Greek or Asian encodings nearly every byte is a high one beside another; Mac Roman and the code pages of
    DOS have their umlauts where Latin-1 has no letters.
    """
    plausible = counts.letters + counts.typography
    if not counts.undefined and plausible >= 0.8 * counts.high and counts.adjacent <= 0.4 * counts.high:
        return Encoding("Latin-1 (Windows-1252)", "cp1252")
    kind = (
        "Mac Roman or a code page of DOS" if counts.adjacent <= 0.4 * counts.high else "an encoding of another script"
    )
    raise CorpusError(
        f"{path}, line {_broken_line(path)}: neither UTF-8 nor UTF-16 nor Latin-1; probably {kind}. "
        "Save it as UTF-8, or name its encoding with --encoding."
    )


def _broken_line(path: Path) -> int:
    """The line of the first byte that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _utf16_without_mark(path: Path, head: bytes) -> Encoding:
    """UTF-16 whose mark is missing: in Latin scripts nearly every other byte is zero."""
    even, odd = head[::2].count(0) / len(head[::2]), head[1::2].count(0) / max(1, len(head[1::2]))
    if odd > 0.4 and even < 0.05:
        return Encoding("UTF-16 without a byte order mark", "utf-16-le", "replace")
    if even > 0.4 and odd < 0.05:
        return Encoding("UTF-16 without a byte order mark", "utf-16-be", "replace")
    line = head[: head.index(0)].count(b"\n") + 1
    raise CorpusError(f"{path}, line {line}: holds a zero byte; this is not a text file.")
