"""Read one CSV file of prompts, and report every problem in it by line.

The format: UTF-8, with or without a byte order mark; UTF-16, or Latin-1, of which a warning tells.  Every cell is a prompt,
unless the first non-empty row contains one of `PROMPT_HEADERS`: then only that column is read, and `;` or a tab may
separate the columns too.
A problem is an *error* if a row or the whole file is left out because of it, else a *warning*.
Reading never raises for what a file contains.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wmkml.corpora.encodings import detect_encoding
from wmkml.corpora.markup import CHAT_MARKUP
from wmkml.corpora.pairs import CorpusError

PROMPT_HEADERS = ("prompt", "prompts", "question", "questions", "frage", "fragen", "instruction", "eingabe", "text")
"""Headers of the prompt column, in any case; if a row has several of them, the one listed first wins."""

DELIMITERS = ",;\t"
SENTENCE_ENDS = ".!?…:;\"'»“”)"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Letters such as "ä" become these pairs when UTF-8 is read as Latin-1; U+FFFD replaces characters that were lost.
GARBLED = re.compile("\ufffd|Ã[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")

Severity = Literal["error", "warning"]
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Problem:
    """A problem of a file or folder.  `line` counts from 1; 0: the whole of it.

    `text` never quotes a prompt, because a data set may contain visitors' words.
    """

    path: Path
    line: int
    severity: Severity
    text: str

    def __str__(self) -> str:
        where = f"{self.path}, line {self.line}" if self.line else f"{self.path}"
        return f"{where}: {self.severity}: {self.text}"


@dataclass(frozen=True)
class DatasetPrompt:
    """A prompt, and the line of the file on which its row begins."""

    line: int
    text: str


@dataclass(frozen=True)
class PromptFile:
    """The usable prompts of a file, in order, and its problems, by line."""

    path: Path
    prompts: tuple[DatasetPrompt, ...]
    problems: tuple[Problem, ...]

    @property
    def broken(self) -> bool:
        """Whether part of the file is unusable."""
        return any(problem.severity == "error" for problem in self.problems)


class _FileBrokenError(Exception):
    """The whole file is unusable because of a problem on `line`."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


class _TolerableError(_FileBrokenError):
    """A problem that only a non-strict CSV reader can read past."""


def read_prompts(path: Path) -> PromptFile:
    """Read one CSV file.

    Errors: rows with chat markup; and, for the whole file, text of another encoding, binary data, a quotation mark that
    is never closed, no prompt at all.  Warnings: rows without a prompt, repeated prompts (kept, so they weigh more),
    sentences probably split by a comma, garbled characters, another encoding than UTF-8.

    Raises:
        OSError: the file does not exist or may not be read.
    """
    try:
        text, warnings = _decoded(path)
        rows, problems = _rows(path, text)
        problems += warnings
    except _FileBrokenError as broken:
        return PromptFile(path, (), (Problem(path, broken.line, "error", broken.text),))

    column, start = _prompt_column(rows)
    width = len(rows[start - 1][1]) if column is not None else 0
    prompts: list[DatasetPrompt] = []
    seen: dict[str, int] = {}
    for line, cells in rows[start:]:
        if column is None:
            row_prompts = [cell.strip() for cell in cells if cell.strip()]
            problems += _split_warning(path, line, cells)
        else:
            row_prompts = [cells[column].strip()] if column < len(cells) and cells[column].strip() else []
            if len(cells) > width:
                problems.append(
                    Problem(
                        path,
                        line,
                        "warning",
                        f"{len(cells)} cells under {width} headers: a sentence is probably split by a comma; "
                        "put it in double quotation marks",
                    )
                )
        if not row_prompts:
            problems.append(Problem(path, line, "warning", "an empty row"))
        for prompt in row_prompts:
            prompt_problems = check_prompt(path, line, prompt, seen)
            problems += prompt_problems
            if not any(problem.severity == "error" for problem in prompt_problems):
                prompts.append(DatasetPrompt(line, prompt))
    if not prompts and not any(problem.severity == "error" for problem in problems):
        problems.append(Problem(path, 0, "error", "holds no prompt; write one in each row"))
    problems.sort(key=lambda problem: problem.line)
    return PromptFile(path, tuple(prompts), tuple(problems))


def _decoded(path: Path) -> tuple[str, list[Problem]]:
    data, warnings = path.read_bytes(), []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig removes the byte order mark before it counts positions.
        start = error.start + (len(data) - len(error.object))
        line = _line_of(data[:start].decode("latin-1"))
        try:
            encoding = detect_encoding(path)
        except CorpusError as other:
            raise _FileBrokenError(line, f"is not UTF-8 (byte 0x{data[start]:02x}): {other}") from None
        if encoding.name.startswith("UTF-8"):
            raise _FileBrokenError(
                line, f"is not UTF-8 (byte 0x{data[start]:02x}); save it as UTF-8 (in Excel: 'CSV UTF-8')"
            ) from None
        text = data.decode(encoding.codec, "replace")
        reading = f"read as {encoding.name}; where letters are wrong, save it as UTF-8 (in Excel: 'CSV UTF-8')"
        warnings.append(Problem(path, 1, "warning", reading))
    if control := CONTROL.search(text):
        raise _FileBrokenError(
            _line_of(text[: control.start()]),
            f"holds the control character U+{ord(control[0]):04X}: this is not a text file",
        )
    return text, warnings


def _line_of(before: str) -> int:
    """The line number at the end of this text; `\\n`, `\\r\\n` and `\\r` each end a line."""
    return before.count("\n") + before.count("\r") - before.count("\r\n") + 1


def _rows(path: Path, text: str) -> tuple[list[Row], list[Problem]]:
    delimiter = _delimiter(text)
    problems: list[Problem] = []
    try:
        rows = list(_parsed(text, delimiter, strict=True))
    except _TolerableError as problem:
        # The non-strict reader appends text after a closing quotation mark to the cell, which is what the writer meant,
        # unless the cell spans lines: then a closing mark is missing.
        rows = list(_parsed(text, delimiter, strict=False))
        if any(line == problem.line and _lines(cells) > 1 for line, cells in rows):
            raise _FileBrokenError(problem.line, "a quotation mark opens here and is not closed on this line") from None
        problems.append(Problem(path, problem.line, "warning", problem.text))
    for line, cells in rows:
        if _lines(cells) > 1:
            problems.append(
                Problem(path, line, "warning", "a prompt runs over several lines: is a quotation mark missing?")
            )
    return rows, problems


def _lines(cells: list[str]) -> int:
    return max((_line_of(cell.strip()) for cell in cells), default=1)


def _parsed(text: str, delimiter: str, *, strict: bool) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    line = last = 1
    try:
        for cells in reader:
            yield line, cells
            last, line = line, reader.line_num + 1
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise _FileBrokenError(line, "a quotation mark opens here and is never closed") from None
        if "field larger" in str(error):
            raise _FileBrokenError(line, "a cell of more than 128 KiB: is a quotation mark missing?") from None
        raise _TolerableError(
            line, "text follows a closing quotation mark; write a quotation mark inside as two"
        ) from None
    if not strict and _open_at_end(text, delimiter):
        raise _FileBrokenError(last, "a quotation mark opens here and is never closed")


def _open_at_end(text: str, delimiter: str) -> bool:
    # The non-strict reader silently closes an open quotation mark at the end; an appended row shows whether it did.
    rows = list(csv.reader(io.StringIO(f"{text}\n\x00", newline=""), delimiter=delimiter))
    return rows[-1] != ["\x00"]


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    for delimiter in DELIMITERS:
        if _header_column(first.split(delimiter)) is not None:
            return delimiter
    return ","


def _prompt_column(rows: list[Row]) -> tuple[int | None, int]:
    """The prompt column, if a header names one, and the index of the first row of prompts."""
    for index, (_, cells) in enumerate(rows):
        if any(cell.strip() for cell in cells):
            column = _header_column(cells)
            return column, index + 1 if column is not None else 0
    return None, 0


def _header_column(cells: list[str]) -> int | None:
    names = [cell.strip().strip('"').strip().casefold() for cell in cells]
    return next((names.index(header) for header in PROMPT_HEADERS if header in names), None)


def _split_warning(path: Path, line: int, cells: list[str]) -> list[Problem]:
    for before, after in itertools.pairwise(cells):
        if not before.strip() or not after.strip():
            continue
        ended = before.rstrip()[-1] in SENTENCE_ENDS
        number = before.rstrip()[-1].isdigit() and after[0].isdigit()
        if after.lstrip()[0].islower() or number or (after[0].isspace() and not ended):
            text = "a sentence is probably split by a comma; put it in double quotation marks"
            return [Problem(path, line, "warning", text)]
    return []


def check_prompt(path: Path, line: int, prompt: str, seen: dict[str, int]) -> list[Problem]:
    """The problems of one prompt; `seen` maps prompts to the line they first occurred on, and is updated."""
    if markup := CHAT_MARKUP.search(prompt):
        return [
            Problem(path, line, "error", f"chat markup {markup[0]} in a prompt; write only what a person would type")
        ]
    problems = []
    if GARBLED.search(prompt):
        problems.append(
            Problem(path, line, "warning", "garbled characters: they were lost when the file was converted")
        )
    key = " ".join(prompt.split()).casefold()
    if key in seen:
        problems.append(Problem(path, line, "warning", f"the same prompt as in line {seen[key]}"))
    seen.setdefault(key, line)
    return problems
