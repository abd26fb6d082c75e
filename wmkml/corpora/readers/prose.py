"""Raw text: as passages for plain language modelling, or as pairs by a stated rule.

A paragraph ends at an empty line.  Passages are whole paragraphs up to a length; a paragraph that is longer is cut at the
end of a sentence.  The rules for pairs:

sentence    the first sentence of a paragraph is the prompt, the rest of it the answer; one of a single sentence is left out
heading     a Markdown heading is the prompt, the text below it, to the next heading, the answer
opening     the first sentence of a paragraph is a prompt, without an answer
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from wmkml.corpora.encodings import MAX_LINE, TextFile
from wmkml.corpora.pairs import Entry, Pair, RecordRefusedError, RefusedLine, clean
from wmkml.corpora.readers.instructions import is_comment

TextRule = Literal["passages", "sentence", "heading", "opening"]

PASSAGE_LENGTH = 2000
"""Characters of a passage at most, unless another length is asked for."""

PROMPT_LINE = 300
"""A line of a .txt file that is longer is no prompt but prose."""

# Possessive, and begun once only, so that a line of a million dots takes no longer than one of words.
SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'»“”’)\]]*+\s++(?=\S)")
HEADING = re.compile(r"#{1,6}\s")

ENDS = ".!?…:;\"'»“”’)"
"""Marks that a sentence ends with."""

Paragraph = tuple[int, str]


def looks_like_prose(head: str) -> bool:
    """Whether a text file's lines are prose rather than a prompt each.

    Prose: a line of more than PROMPT_LINE characters; lines with three sentences or more; lines that begin in the
    middle of a sentence; paragraphs of several lines between empty ones; Markdown headings.
    """
    lines = head.split("\n")
    filled = [line.strip() for line in lines if line.strip()]
    if not filled:
        return False
    share = 1 / len(filled)
    if any(len(line) > PROMPT_LINE for line in filled):
        return True
    headings = [line for line in lines if heading_of(line)]
    # A line `# my questions` right above the first prompt is a comment; a heading stands alone, or is of a lower rank.
    begun = itertools.dropwhile(lambda line: not line.strip(), lines)
    first, following = next(begun), next(begun, "")
    commented = headings == [first] and is_comment(first) and bool(following.strip())
    if headings and not commented:
        return True
    continued = sum(
        before.strip()[-1:] not in ".!?…:;" and bool(after.strip()) and after.strip()[0].islower()
        for before, after in itertools.pairwise(lines)
        if before.strip()
    )
    several = sum(len(SENTENCE_END.findall(line)) >= 2 for line in filled)
    blocks = [block.count("\n") + 1 for block in re.split(r"\n\s*\n", head.strip("\n"))]
    unended = sum(line[-1] not in ENDS for line in filled)
    wrapped = len(blocks) > 1 and max(blocks) > 1 and unended * share > 0.3 and continued > 0
    return several * share > 0.4 or (continued * share > 0.2 and continued > 1) or wrapped


def looks_like_verse(lines: Sequence[str]) -> bool:
    """Whether most of these lines, read as prompts, end as a poem's do: with a comma or with no mark at all."""
    return len(lines) > 1 and 2 * sum(line.rstrip()[-1:] not in ENDS for line in lines) > len(lines)


def read_prose(file: TextFile, rule: TextRule, length: int) -> Iterator[Entry]:
    """Passages of at most `length` characters, or pairs by a rule."""
    if rule == "heading":
        yield from _headed(file)
        return
    paragraphs = _paragraphs(file)
    if rule == "passages":
        yield from _passages(paragraphs, length)
    else:
        yield from _opened(paragraphs) if rule == "opening" else _begun(paragraphs)


def _paragraphs(file: TextFile) -> Iterator[Paragraph | RefusedLine]:
    first, lines, size = 0, [], 0
    for number, line in file.lines():
        if line is None:
            yield RefusedLine(number, "a line of more than four million characters")
            continue
        size += len(line)
        if line.strip() and size <= MAX_LINE:
            first = first or number
            lines.append(line.rstrip())
            continue
        if lines:
            yield first, "\n".join(lines)
        first, lines, size = (number, [line.rstrip()], len(line)) if line.strip() else (0, [], 0)
    if lines:
        yield first, "\n".join(lines)


def _passages(paragraphs: Iterable[Paragraph | RefusedLine], length: int) -> Iterator[Entry]:
    first, gathered = 0, ""
    for entry in paragraphs:
        if isinstance(entry, RefusedLine):
            yield entry
            continue
        line, paragraph = entry
        for piece in _cut(paragraph, length):
            if gathered and len(gathered) + 2 + len(piece) > length:
                yield _passage(first, gathered)
                gathered = ""
            first, gathered = (first, f"{gathered}\n\n{piece}") if gathered else (line, piece)
    if gathered:
        yield _passage(first, gathered)


def _passage(line: int, text: str) -> Entry:
    try:
        return Pair("", clean(text, "the passage"), line=line)
    except RecordRefusedError as refusal:
        return RefusedLine(line, str(refusal))


def _cut(paragraph: str, length: int) -> Iterator[str]:
    """A paragraph in pieces of at most `length`: cut after a sentence, else at a blank, else anywhere."""
    text, start = paragraph.strip(), 0
    while len(text) - start > length:
        window = text[start : start + length + 1]
        ends = [match.end() for match in SENTENCE_END.finditer(window)]
        cut = ends[-1] if ends else window.rfind(" ")
        if cut <= 0:
            cut = length
        if piece := window[:cut].strip():
            yield piece
        start += cut
    if piece := text[start:].strip():
        yield piece


def _begun(paragraphs: Iterable[Paragraph | RefusedLine]) -> Iterator[Entry]:
    for entry in paragraphs:
        if isinstance(entry, RefusedLine):
            yield entry
            continue
        line, paragraph = entry
        end = SENTENCE_END.search(paragraph)
        if end is None:
            yield RefusedLine(line, "a paragraph of a single sentence; expected one to ask with and more to answer")
            continue
        try:
            prompt, answer = clean(paragraph[: end.end()], "the prompt"), clean(paragraph[end.end() :], "the answer")
        except RecordRefusedError as refusal:
            yield RefusedLine(line, str(refusal))
        else:
            yield Pair(prompt, answer, line=line)


def _opened(paragraphs: Iterable[Paragraph | RefusedLine]) -> Iterator[Entry]:
    for entry in paragraphs:
        if isinstance(entry, RefusedLine):
            yield entry
            continue
        line, paragraph = entry
        try:
            yield Pair(clean(opening(paragraph), "the prompt"), None, line=line)
        except RecordRefusedError as refusal:
            yield RefusedLine(line, str(refusal))


def opening(text: str) -> str:
    """The first sentence of a text, on one line; a Markdown heading's without its marks."""
    end = SENTENCE_END.search(text)
    sentence = " ".join(text[: end.end() if end else len(text)].split())
    return heading_of(sentence) or sentence


def heading_of(line: str) -> str:
    """The words of a Markdown heading; empty if the line is none."""
    text = line.strip()
    return text.lstrip("#").rstrip("#").strip() if HEADING.match(text) else ""


def _headed(file: TextFile) -> Iterator[Entry]:
    heading, first, texts, size = "", 0, list[str](), 0
    for entry in _paragraphs(file):
        if isinstance(entry, RefusedLine):
            yield entry
            continue
        line, paragraph = entry
        for offset, text in enumerate(paragraph.split("\n")):
            if title := heading_of(text):
                yield from _section(first, heading, texts)
                heading, first, texts, size = title, line + offset, [], 0
                continue
            if size <= MAX_LINE:
                texts.append(text)
                size += len(text)
            first = first or line + offset
        texts.append("")
    yield from _section(first, heading, texts)


def _section(line: int, heading: str, texts: list[str]) -> Iterator[Entry]:
    text = "\n".join(texts).strip()
    if not heading and not text:
        return
    if not heading:
        yield RefusedLine(line, "text before the first heading; expected a heading such as # Title")
        return
    try:
        yield Pair(clean(heading, "the heading"), clean(text, "the text below the heading"), line=line)
    except RecordRefusedError as refusal:
        yield RefusedLine(line, str(refusal))
