"""JSON: an object on each line (JSONL), or one array of objects, read element by element.

`json`'s own decoder reads an array's elements one by one; a streaming parser such as ijson would not say on which line an
element begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from wmkml.corpora.encodings import MAX_LINE, TextFile
from wmkml.corpora.pairs import CorpusError, Record, RefusedLine

PIECE = 1 << 18
"""Characters of an array that are read together."""

LARGEST_ELEMENT = MAX_LINE
"""The longest element of an array, in characters."""

NOT_CLOSED = "the array is not closed: the file ends before its ]"

LONGEST_WORD = 16
"""Characters: an error of the decoder that is nearer to the window's end may be a word or an escape that is cut off."""

_BLANK = re.compile(r"[ \t\n\r]*")


def read_json_lines(file: TextFile) -> Iterator[Record | RefusedLine]:
    """An object on each line; empty lines do not count.  Every line that holds none is refused by itself."""
    for number, line in file.lines():
        if line is None:
            yield RefusedLine(number, "a line of more than four million characters")
        elif line.strip():
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                yield RefusedLine(number, f"expected a JSON object on the line; at column {error.colno}: {error.msg}")
            except (ValueError, RecursionError):
                yield RefusedLine(
                    number, "JSON that cannot be read: too deeply nested, or a number of thousands of digits"
                )
            else:
                yield _record(number, values)


def read_json_array(file: TextFile) -> Iterator[Record | RefusedLine]:
    """The objects of one array.  After an element that is no JSON nothing more is read, and the refusal says so.

    Raises:
        CorpusError: the file does not begin with an array.
    """
    with file.open() as stream:
        yield from _elements(_Buffer(stream), str(file.path))


def _elements(buffer: _Buffer, path: str) -> Iterator[Record | RefusedLine]:
    if buffer.next_character() != "[":
        raise CorpusError(f"{path}, line {buffer.line}: expected an array of objects, which begins with [.")
    buffer.skip(1)
    if buffer.next_character() == "]":
        yield from _after(buffer)
        return
    while True:
        if not buffer.next_character():
            yield RefusedLine(buffer.line, NOT_CLOSED)
            return
        line = buffer.line
        try:
            value = buffer.decode()
        except json.JSONDecodeError as error:
            yield RefusedLine(
                buffer.line_of(error.pos),
                f"expected a JSON object: {error.msg}; the element begins on line {line}, and nothing after it is read",
            )
            return
        except (ValueError, RecursionError):
            yield RefusedLine(
                line,
                "JSON that cannot be read: an element too deeply nested or too long, or a number of thousands of "
                "digits; nothing after it is read",
            )
            return
        yield _record(line, value)
        separator = buffer.next_character()
        if separator == "]":
            yield from _after(buffer)
            return
        if separator != ",":
            expected = "expected , or ] after an element of the array; nothing after it is read"
            yield RefusedLine(buffer.line, expected if separator else NOT_CLOSED)
            return
        buffer.skip(1)


def _after(buffer: _Buffer) -> Iterator[RefusedLine]:
    buffer.skip(1)
    if buffer.next_character():
        yield RefusedLine(
            buffer.line, "text after the end of the array; it is not read (objects on lines: no [ before them)"
        )


def _record(line: int, value: object) -> Record | RefusedLine:
    if not isinstance(value, dict):
        return RefusedLine(line, f"expected an object with named values, found {_kind(value)}")
    return Record(line, value)


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a number"


class _Buffer:
    """A window on a stream that moves forward, and counts the lines it has passed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._start = 0
        self._ended = False
        self.line = 1
        """The line of the next character."""

    def next_character(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            match = _BLANK.match(self._text, self._start)
            assert match is not None
            self.skip(match.end() - self._start)
            if self._start < len(self._text):
                return self._text[self._start]
            if not self._more():
                return ""

    def skip(self, count: int) -> None:
        self.line += self._text.count("\n", self._start, self._start + count)
        self._start += count

    def line_of(self, position: int) -> int:
        """The line of a position that an error of the decoder names."""
        return self.line + self._text.count("\n", self._start, position)

    def decode(self) -> Any:
        """The value that begins at the next character.

        Raises:
            ValueError: it is no JSON, or longer than LARGEST_ELEMENT.
        """
        wanted = PIECE
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._start)
            except json.JSONDecodeError as error:
                # Perhaps it goes on beyond the window.  The window doubles, so that a long element is not tried often.
                cut_off = error.pos > len(self._text) - LONGEST_WORD or error.msg.startswith("Unterminated string")
                if not cut_off or not self._more(wanted):
                    raise
                wanted *= 2
                if len(self._text) - self._start > LARGEST_ELEMENT:
                    raise ValueError("too long") from None
                continue
            # A number at the window's end may go on; what else ends here has ended.
            if end == len(self._text) and isinstance(value, int | float) and self._more():
                continue
            self.skip(end - self._start)
            return value

    def _more(self, count: int = PIECE) -> bool:
        if self._ended:
            return False
        piece = self._stream.read(count)
        if not piece:
            self._ended = True  # the window stays as it is: an error may name a position in it
            return False
        self._text = self._text[self._start :] + piece
        self._start = 0
        return True
