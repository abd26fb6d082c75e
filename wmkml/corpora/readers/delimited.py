"""CSV and TSV, row by row: with a header, records by column; without one, every cell is a prompt.

A quotation mark that is never closed costs its own line only: reading goes on in the next.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator

from wmkml.corpora.columns import Columns, column_of, missing_column
from wmkml.corpora.encodings import TextFile
from wmkml.corpora.pairs import CorpusError, Entry, Pair, Record, RecordRefusedError, RefusedLine, clean
from wmkml.corpora.records import form_of, unknown_columns

DELIMITERS = (",", ";", "\t")

MOST_LINES = 1000
"""Lines that one quoted cell may run over; with more, its quotation mark is taken for one that is never closed."""

Row = tuple[int, list[str]]

_EXCEL = re.compile(r"sep=([,;\t])", re.IGNORECASE)

_NAME = re.compile(r"[A-Za-zÄÖÜäöüß_][\wäöüß .\-]{0,39}")


def read_delimited(file: TextFile, columns: Columns, form: str, delimiter: str = "") -> Iterator[Record | Entry]:
    """Records of a table with a header, or pairs of one without.

    Args:
        form: the form asked for, or empty; `prompts` takes every row for prompts unless a header names a column.
        delimiter: what divides the columns; empty: told by the header.

    Raises:
        CorpusError: no column is known, or one that was asked for is missing.
    """
    lines = _Lines(file.lines())
    filled = [text for _, text in lines.peek(50) if text and text.strip()][:6]
    if filled and (named := _EXCEL.fullmatch(filled[0].strip())):
        # Excel writes its delimiter above the header.
        delimiter, filled = named[1], filled[1:]
        while not (next(lines).strip()):
            pass
        lines.taken = []
    delimiter = delimiter or tell_delimiter(filled, columns)
    rows = _rows(lines, delimiter)
    beginning = list(itertools.islice(rows, 6))
    header_index = next((i for i, row in enumerate(beginning) if isinstance(row, tuple) and _any(row[1])), None)
    header = _header(file, beginning, header_index, columns, form)
    if header is None or header_index is None:
        yield from _cells(itertools.chain(beginning, rows))
        return
    yield from (row for row in beginning[:header_index] if isinstance(row, RefusedLine))
    yield from _records(header, itertools.chain(beginning[header_index + 1 :], rows))


def tell_delimiter(beginning: list[str], columns: Columns) -> str:
    """The delimiter by which the first row names known columns, or those asked for, or looks like a header; else a comma.

    Args:
        beginning: the first lines that are not empty.
    """
    first = beginning[0] if beginning else ""
    split = {delimiter: _names(next(csv.reader([first], delimiter=delimiter), [])) for delimiter in DELIMITERS}
    for wanted in (columns.names, ()):
        for delimiter, names in split.items():
            if (wanted and all(column_of(names, name) for name in wanted)) or (not wanted and form_of(names)):
                return delimiter
    tabs = first.count("\t")
    if columns.wanted or tabs > 1:
        return max(DELIMITERS, key=first.count)
    for delimiter in DELIMITERS[1:]:
        rows: list[Row | RefusedLine] = [(0, cells) for cells in csv.reader(beginning[1:], delimiter=delimiter)]
        if _looks_like_header(split[delimiter], rows):
            return delimiter
    return ","


def _header(
    file: TextFile, rows: list[Row | RefusedLine], index: int | None, columns: Columns, form: str
) -> list[str] | None:
    """The names of the columns; None where the table has none."""
    if index is None or not isinstance(row := rows[index], tuple):
        return None
    line, cells = row
    names = _names(cells)
    if columns.wanted:
        for name in columns.names:
            if column_of(names, name) is None:
                raise CorpusError(f"{file.path}, line {line}: {missing_column(name, names)}.")
        return names
    if form_of(names, table=True) is not None:
        return names
    if form == "prompts":
        return None
    if form or _looks_like_header(names, rows[index + 1 :]):
        raise CorpusError(f"{file.path}, line {line}: {unknown_columns(names)} (--format prompts: each cell is one).")
    return None


def _looks_like_header(names: list[str], rows: list[Row | RefusedLine]) -> bool:
    """Whether short names of several columns stand over rows of as many cells that are no names."""
    if len(names) < 2 or len(set(names)) < len(names):
        return False
    if not all(_NAME.fullmatch(name) and len(name.split()) <= 3 for name in names):
        return False
    below = [row[1] for row in rows if isinstance(row, tuple) and _any(row[1])]
    if not below or any(len(cells) != len(names) for cells in below):
        return False
    return any(not _NAME.fullmatch(cell.strip()) or len(cell.split()) > 3 for cells in below for cell in cells)


def _names(cells: list[str]) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in cells]


def _any(cells: list[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _cells(rows: Iterable[Row | RefusedLine]) -> Iterator[Entry]:
    for row in rows:
        if isinstance(row, RefusedLine):
            yield row
            continue
        line, cells = row
        for cell in cells:
            if cell.strip():
                try:
                    yield Pair(clean(cell, "the prompt"), None, line=line)
                except RecordRefusedError as refusal:
                    yield RefusedLine(line, str(refusal))


def _records(header: list[str], rows: Iterable[Row | RefusedLine]) -> Iterator[Record | RefusedLine]:
    for row in rows:
        if isinstance(row, RefusedLine):
            yield row
            continue
        line, cells = row
        if not _any(cells):
            continue
        if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
            yield RefusedLine(
                line,
                f"{len(cells)} cells under {len(header)} headers: a text with the delimiter in it stands in double "
                "quotation marks",
            )
            continue
        # The first of two columns of one name counts, and a row may be short.
        values: dict[str, object] = dict(
            zip(reversed(header[: len(cells)]), reversed(cells[: len(header)]), strict=True)
        )
        yield Record(line, dict.fromkeys(header, "") | {name: values[name] for name in header if name in values})


class _Lines:
    """The lines of a file, some of which can be looked at before, or put back."""

    def __init__(self, lines: Iterator[tuple[int, str | None]]) -> None:
        self._lines = lines
        self._waiting: list[tuple[int, str | None]] = []
        self.taken: list[tuple[int, str | None]] = []
        """Lines taken since the row began."""

    def peek(self, count: int) -> list[tuple[int, str | None]]:
        missing = count - len(self._waiting)
        self._waiting = [*reversed(list(itertools.islice(self._lines, max(0, missing)))), *self._waiting]
        return self._waiting[::-1][:count]

    def put_back(self, lines: list[tuple[int, str | None]]) -> None:
        self._waiting += reversed(lines)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, text = self._waiting.pop() if self._waiting else next(self._lines)
        self.taken.append((number, text))
        if text is None or len(self.taken) > MOST_LINES:
            raise csv.Error("too long")
        return text + "\n"


def _rows(lines: _Lines, delimiter: str) -> Iterator[Row | RefusedLine]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.taken = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _mended(lines, delimiter, error)
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            continue
        yield lines.taken[0][0], cells


def _mended(lines: _Lines, delimiter: str, error: csv.Error) -> Row | RefusedLine:
    """The row that strict reading failed on, read leniently if it is one line; else its first line is refused.

    Text after a closing quotation mark is appended to the cell, which is what the writer meant, unless the cell runs over
    several lines: then a closing mark is missing.
    """
    (number, text), *rest = lines.taken
    lines.put_back(rest)
    if text is None:
        return RefusedLine(number, "a line of more than four million characters")
    if not rest and "expected after" in str(error):
        try:
            return number, next(csv.reader([text], delimiter=delimiter))
        except csv.Error as second:
            error = second
    if "field larger" in str(error):
        return RefusedLine(number, "a cell of more than 128 KiB: is a quotation mark missing?")
    return RefusedLine(number, "a quotation mark opens here and is not closed")
