"""Reads one CSV file of prompts, and names everything wrong in it by line.

The format: UTF-8, with or without a byte order mark.  Every cell is a prompt, unless the first row that is not empty
holds one of `PROMPT_HEADERS`: then only that column is read, and the columns may be divided by `;` or a tab as well.
A problem is an *error* when something is left out for it (a row, or the whole file), a *warning* when all is used.
Reading never raises for what a file contains.  Deliberately knows no model, no folder layout and no dataset's name.
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

PROMPT_HEADERS = ("prompt", "prompts", "question", "questions", "frage", "fragen", "instruction", "eingabe", "text")
"""The headers that make a column the prompt column, in any case; where several stand in one row, the first listed wins."""

CHAT_MARKUP = re.compile(
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|</?s>|<</?SYS>>|<\|[A-Za-z_]+\|>|</?(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>",
    re.IGNORECASE,
)
"""What chat templates put around messages.  A prompt is what a person types and holds none of it."""

DELIMITERS = ",;\t"
SENTENCE_ENDS = ".!?…:;\"'»“”)"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# "ä" read as Latin-1 becomes these two characters; U+FFFD is what stands where a character was lost.
GARBLED = re.compile("\ufffd|Ã[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")

Severity = Literal["error", "warning"]
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file or folder.  `line` counts from 1; 0 means the whole of it.

    `text` quotes no prompt: a data set may hold what visitors said.
    """

    path: Path
    line: int
    severity: Severity
    text: str

    def __str__(self) -> str:
        where = f"{self.path}, line {self.line}" if self.line else f"{self.path}"
        return f"{where}: {self.severity}: {self.text}"


@dataclass(frozen=True)
class Prompt:
    """A prompt and the line of the file on which its row begins."""

    line: int
    text: str


@dataclass(frozen=True)
class PromptFile:
    """What a file gives: the prompts that can be used, in order, and its problems, in the order of their lines."""

    path: Path
    prompts: tuple[Prompt, ...]
    problems: tuple[Problem, ...]

    @property
    def broken(self) -> bool:
        """Whether something of the file had to be left out."""
        return any(problem.severity == "error" for problem in self.problems)


class _Broken(Exception):
    """The file as a whole cannot be read: a line and a sentence."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


class _Loose(_Broken):
    """Only a lenient reader can go on from here."""


def read_prompts(path: Path) -> PromptFile:
    """Read one CSV file.

    Rows with chat markup are left out.  Text that is not UTF-8, binary data, a quotation mark that is never closed and
    a file without any prompt leave the whole file out.  Rows without a prompt, repeated prompts (kept, they weigh
    more), sentences probably cut by a comma, and garbled characters are warnings.

    Raises:
        OSError: the file does not exist or may not be read.
    """
    try:
        text = _decoded(path.read_bytes())
        rows, problems = _rows(path, text)
    except _Broken as broken:
        return PromptFile(path, (), (Problem(path, broken.line, "error", broken.text),))

    column, start = _prompt_column(rows)
    width = len(rows[start - 1][1]) if column is not None else 0
    prompts: list[Prompt] = []
    seen: dict[str, int] = {}
    for line, cells in rows[start:]:
        if column is None:
            found = [cell.strip() for cell in cells if cell.strip()]
            problems += _split_warning(path, line, cells)
        else:
            found = [cells[column].strip()] if column < len(cells) and cells[column].strip() else []
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
        if not found:
            problems.append(Problem(path, line, "warning", "an empty row"))
        for prompt in found:
            wrong = _of_prompt(path, line, prompt, seen)
            problems += wrong
            if not any(problem.severity == "error" for problem in wrong):
                prompts.append(Prompt(line, prompt))
    if not prompts and not any(problem.severity == "error" for problem in problems):
        problems.append(Problem(path, 0, "error", "holds no prompt; write one in each row"))
    problems.sort(key=lambda problem: problem.line)
    return PromptFile(path, tuple(prompts), tuple(problems))


def _decoded(data: bytes) -> str:
    if data.startswith(UTF16_MARKS):
        raise _Broken(1, "is saved as UTF-16; save it as UTF-8 (in Excel: 'CSV UTF-8')")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig drops the byte order mark before it counts.
        start = error.start + (len(data) - len(error.object))
        raise _Broken(
            _line_of(data[:start].decode("latin-1")),
            f"is not UTF-8 (byte 0x{data[start]:02x}); save it as UTF-8 (in Excel: 'CSV UTF-8')",
        ) from None
    if control := CONTROL.search(text):
        raise _Broken(
            _line_of(text[: control.start()]),
            f"holds the control character U+{ord(control[0]):04X}: this is not a text file",
        )
    return text


def _line_of(before: str) -> int:
    """The number of the line that follows this text; `\\n`, `\\r\\n` and `\\r` each end a line."""
    return before.count("\n") + before.count("\r") - before.count("\r\n") + 1


def _rows(path: Path, text: str) -> tuple[list[Row], list[Problem]]:
    delimiter = _delimiter(text)
    problems: list[Problem] = []
    try:
        rows = list(_parsed(text, delimiter, strict=True))
    except _Loose as loose:
        # The lenient reader takes text after a closing quotation mark as it comes, which is what its writer meant;
        # unless lines were swallowed on the way to that mark, for then another one is missing.
        rows = list(_parsed(text, delimiter, strict=False))
        if any(line == loose.line and _lines(cells) > 1 for line, cells in rows):
            raise _Broken(loose.line, "a quotation mark opens here and is not closed on this line") from None
        problems.append(Problem(path, loose.line, "warning", loose.text))
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
            raise _Broken(line, "a quotation mark opens here and is never closed") from None
        if "field larger" in str(error):
            raise _Broken(line, "a cell of more than 128 KiB: is a quotation mark missing?") from None
        raise _Loose(line, "text follows a closing quotation mark; write a quotation mark inside as two") from None
    if not strict and _open_at_end(text, delimiter):
        raise _Broken(last, "a quotation mark opens here and is never closed")


def _open_at_end(text: str, delimiter: str) -> bool:
    # A lenient reader closes an open quotation mark silently at the end; one more row shows whether one was open.
    marked = list(csv.reader(io.StringIO(f"{text}\n\x00", newline=""), delimiter=delimiter))
    return marked[-1] != ["\x00"]


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


def _of_prompt(path: Path, line: int, prompt: str, seen: dict[str, int]) -> list[Problem]:
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
