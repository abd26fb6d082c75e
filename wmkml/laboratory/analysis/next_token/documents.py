"""Reads a corpus document by document from any byte offset, holding one document and one block of the file at a time.

.jsonl       a document a line: {"text": "…"}; another field can be named
.jsonl.zst   the same, compressed; offsets count uncompressed bytes
.txt         a document ends at an empty line; .txt.zst too

A document of a .txt file that is longer than LONGEST is cut there, and each piece counts as a document; a line of JSON
that is longer is refused.  What cannot be read is refused with its place, and the rest is read on.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LONGEST = 4 * 2**20
"""Bytes of a document at most: a model's tokens of it are held at once."""

BLOCK = 2**20
"""Bytes that are read at once."""

ENDINGS = (".jsonl", ".jsonl.zst", ".txt", ".txt.zst")

EMPTY_LINES = re.compile(rb"\n(?:[ \t\r]*\n)+")
LINE_END = re.compile(rb"\n")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class CorpusFileError(ValueError):
    """A file of a corpus cannot be used.  The message says which, why, and what to do."""


@dataclass(frozen=True)
class Document:
    """A document.

    Attributes:
        text: empty if it was refused.
        end: the offset, in uncompressed bytes, at which the next one begins.
        refusal: why it cannot be used; empty if it can.
    """

    text: str
    end: int
    refusal: str = ""


def read_documents(path: Path, offset: int = 0, field: str = "text") -> Iterator[Document]:
    """The documents from an offset on, at which one begins; empty ones are left out.

    Raises:
        CorpusFileError: the file cannot be read (on), or its ending is none of ENDINGS.
    """
    check_ending(path)
    is_text = path.name.lower().removesuffix(".zst").endswith(".txt")
    separator = EMPTY_LINES if is_text else LINE_END
    try:
        with _opened(path, offset) as stream:
            for content, end, whole in _pieces(stream, offset, separator):
                if not content.strip():
                    continue
                document = _text(content, end) if is_text else _record(content, end, whole, field)
                if document.text or document.refusal:
                    yield document
    except OSError as error:
        raise CorpusFileError(f"{path} cannot be read: {error.strerror or error}.") from None


def check_ending(path: Path) -> None:
    """Raises CorpusFileError unless the file's name ends as one of ENDINGS."""
    if not path.name.lower().endswith(ENDINGS):
        raise CorpusFileError(f"{path}: not one of {', '.join(ENDINGS)}. Rename it, or convert it to one of these.")


@contextlib.contextmanager
def _opened(path: Path, offset: int) -> Iterator[BinaryIO]:
    """The file's uncompressed bytes from an offset on."""
    with path.open("rb") as file:
        if not path.name.lower().endswith(".zst"):
            file.seek(offset)
            yield file
            return
        try:
            import zstandard
        except ImportError:
            raise CorpusFileError(f"{path}: zstd needs zstandard: pip install 'wmkml[lab]'.") from None
        try:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            while offset and (skipped := len(reader.read(min(offset, BLOCK)))):
                offset -= skipped
            yield reader
        except zstandard.ZstdError as error:
            raise CorpusFileError(f"{path} is no zstd file, or damaged: {error}.") from None


def _pieces(stream: BinaryIO, offset: int, separator: re.Pattern[bytes]) -> Iterator[tuple[bytes, int, bool]]:
    """The bytes between separators, the offset behind each, and whether it is whole.

    A piece of more than LONGEST bytes is cut, at a blank if there is one near; all pieces of it are not whole.
    """
    buffer, start, searched, whole, ended = b"", 0, 0, True, False
    while True:
        match = separator.search(buffer, searched)
        # Where a piece is cut does not depend on where a block of the file ends, or on where reading began.
        fits = match is not None and match.start() - start <= LONGEST
        # A separator of several bytes may go on in the next block.
        if match and fits and (match.end() < len(buffer) or ended or separator is LINE_END):
            yield buffer[start : match.start()], offset + match.end(), whole
            start, searched, whole = match.end(), match.end(), True
        elif len(buffer) - start > LONGEST and not fits:
            cut = _cut(buffer, start)
            yield buffer[start:cut], offset + cut, False
            start, searched, whole = cut, cut, False
        elif ended:
            if start < len(buffer):
                yield buffer[start:], offset + len(buffer), whole
            return
        else:
            # Searched on from where a separator may have begun.
            begun = match.start() if match else buffer.rfind(b"\n", searched)
            searched = (begun if begun >= 0 else len(buffer)) - start
            block = stream.read(BLOCK)
            ended = not block
            buffer, offset, start = buffer[start:] + block, offset + start, 0


def _cut(buffer: bytes, start: int) -> int:
    """Where a piece of LONGEST bytes is cut: behind the last blank of its last 1,000 bytes, else between characters."""
    end = start + LONGEST
    blank = buffer.rfind(b" ", end - 1000, end)
    if blank > start:
        return blank + 1
    while end > start + 1 and end < len(buffer) and buffer[end] & 0xC0 == 0x80:
        end -= 1
    return end


def _text(content: bytes, end: int) -> Document:
    try:
        text = content.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError:
        return Document("", end, f"the document that ends at byte {end}: not UTF-8")
    return Document(text.strip("\r\n"), end)


def _record(content: bytes, end: int, whole: bool, field: str) -> Document:
    where = f"the line that ends at byte {end}"
    if not whole:
        return Document("", end, f"{where}: longer than {LONGEST >> 20} MiB")
    try:
        record = json.loads(content.removeprefix(BYTE_ORDER_MARK))
    except ValueError:
        return Document("", end, f"{where}: not JSON")
    text = record.get(field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        return Document("", end, f'{where}: has no text `{field}`; expected {{"{field}": "…"}}')
    try:
        text.encode()
    except UnicodeEncodeError:
        return Document("", end, f"{where}: holds half of a surrogate pair, which no UTF-8 has")
    return Document(text, end)
