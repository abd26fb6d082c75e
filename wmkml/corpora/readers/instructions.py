"""Instruction text files: a line is `instruction # answer`, split at its last `#`.

Lines that begin with `#` are comments; one that contains `_EVAL_` begins the evaluation part.
"""

from __future__ import annotations

from collections.abc import Iterator

from wmkml.corpora.encodings import TextFile
from wmkml.corpora.pairs import Entry, Pair, Part, RecordRefusedError, RefusedLine, clean

EVALUATION_MARK = "_EVAL_"


def read_instructions(file: TextFile) -> Iterator[Entry]:
    """A pair for each line that is neither empty nor a comment."""
    part: Part = "train"
    for number, line in file.lines():
        if line is None:
            yield RefusedLine(number, "a line of more than four million characters")
            continue
        text = line.strip()
        if text.startswith("#"):
            if EVALUATION_MARK in text:
                part = "evaluation"
            continue
        if not text:
            continue
        instruction, mark, answer = text.rpartition("#")
        if not mark:
            yield RefusedLine(number, "expected instruction # answer; there is no # on this line")
            continue
        try:
            yield Pair(clean(instruction, "the instruction"), clean(answer, "the answer"), part=part, line=number)
        except RecordRefusedError as refusal:
            yield RefusedLine(number, f"{refusal}; expected instruction # answer")


def looks_like_instructions(head: str) -> bool:
    """Whether more than half of the lines that are neither empty nor comments are instruction # answer."""
    lines = [line.strip() for line in head.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    divided = [line for line in lines if all(part.strip() for part in line.rpartition("#")[::2]) and "#" in line]
    return bool(lines) and 2 * len(divided) > len(lines)


def is_comment(line: str) -> bool:
    """Whether a line of a file of prompts is a comment, where it stands above the first prompt."""
    return line.lstrip().startswith("# ")


def read_prompt_lines(file: TextFile) -> Iterator[Entry]:
    """A prompt on each line; empty lines do not count, nor does a comment (# and a blank) above the first prompt."""
    begun = False
    for number, line in file.lines():
        if not begun and line is not None and is_comment(line):
            continue
        begun = begun or line is None or bool(line.strip())
        if line is None:
            yield RefusedLine(number, "a line of more than four million characters")
        elif line.strip():
            try:
                yield Pair(clean(line, "the prompt"), None, line=number)
            except RecordRefusedError as refusal:
                yield RefusedLine(number, str(refusal))
