"""Answers to prompts, made by a model or elsewhere: one line of JSON for each prompt and temperature."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wmkml.system.memory import available_gib

UNKNOWN = "unknown"
"""The kind or temperature of answers whose line names none."""

MEMORY_FACTOR = 4
"""Memory that a file of answers takes at most, as Python holds it, over its size: four bytes a character."""

EXAMPLE = '{"prompt": "…", "kind": "creative", "temperature": 0.7, "answers": ["…", "…"]}'


class AnswersError(ValueError):
    """A file of answers cannot be used.  The message says which, in which line, and what was expected."""


@dataclass(frozen=True)
class AnswerSet:
    """The answers to one prompt at one temperature.

    Attributes:
        kind: of the prompt: creative, factual, seen, or another word.
        temperature: as text, without trailing zeros ("0.7"); UNKNOWN where it is not known.
        language: of the answers, as "en"; empty where it is not known.
        expected: texts of which a right answer holds one; empty where nothing is expected.
        opening: what the model was given as the beginning of its answer; it is no part of the answers.
    """

    prompt: str
    kind: str
    temperature: str
    answers: tuple[str, ...]
    language: str = ""
    expected: tuple[str, ...] = ()
    opening: str = ""

    def cut(self, max_num_words: int | None) -> AnswerSet:
        """The same with each answer cut after so many words; the white space between these stays as it is."""
        if max_num_words is None:
            return self
        answers = tuple(_first_words(answer, max_num_words) for answer in self.answers)
        return replace(self, answers=answers)


def read_answers(path: Path, language: str = "") -> list[AnswerSet]:
    """Read a file of answers; lines of the same prompt, kind and temperature are put together.

    Args:
        language: of answers whose line names none.

    Raises:
        AnswersError: it cannot be read, holds no answer, or a line is not as EXAMPLE is.
    """
    sets: dict[tuple[str, str, str], AnswerSet] = {}
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    more = _parse_line(line, f"{path}, line {number}")
                    key = (more.prompt, more.kind, more.temperature)
                    before = sets.get(key)
                    sets[key] = more if before is None else replace(before, answers=before.answers + more.answers)
    except OSError as error:
        raise AnswersError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise AnswersError(f"{path} is not UTF-8. Save it as UTF-8, one line of JSON for each prompt.") from None
    if not sets:
        raise AnswersError(f"{path} holds no answers. A line is to be {EXAMPLE}.")
    return [replace(answers, language=answers.language or language) for answers in sets.values()]


def is_encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8: not where it holds half of a surrogate pair, as a broken escape leaves it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_memory(paths: Sequence[Path], available: float | None = None) -> None:
    """Check that the files fit into the memory that is free, together, before any is read.

    Args:
        available: GiB; None: asked of the system, and not checked where it does not say.

    Raises:
        AnswersError: they may not.
    """
    if available is None:
        available = available_gib()
    if available is None:
        return
    needed = MEMORY_FACTOR * sum(path.stat().st_size for path in paths if path.is_file()) / 2**30
    if needed > available:
        raise AnswersError(
            f"These answers may take {needed:.1f} GiB of memory, and {available:.1f} are free. "
            "Analyse fewer files at once, or fewer prompts."
        )


def _parse_line(line: str, where: str) -> AnswerSet:
    try:
        record: Any = json.loads(line)
    except ValueError as error:
        raise AnswersError(f"{where}: not JSON ({error}). A line is to be {EXAMPLE}.") from None
    if not isinstance(record, dict):
        raise AnswersError(f"{where}: not an object. A line is to be {EXAMPLE}.")
    # Only JSON's escapes can form it: the file itself was read as UTF-8.
    if "\\ud" in line.lower() and not is_encodable(json.dumps(record, ensure_ascii=False)):
        raise AnswersError(f"{where}: holds half of a surrogate pair (\\ud800 to \\udfff), which is no character.")
    prompt, kind, answers = record.get("prompt"), record.get("kind", UNKNOWN), record.get("answers")
    if not isinstance(prompt, str):
        raise AnswersError(f"{where}: `prompt` is missing or no text. A line is to be {EXAMPLE}.")
    if not isinstance(kind, str):
        raise AnswersError(f"{where}: `kind` is no text. A line is to be {EXAMPLE}.")
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise AnswersError(f"{where}: `answers` is missing or no list of texts. A line is to be {EXAMPLE}.")
    language, opening, expected = record.get("language", ""), record.get("opening", ""), record.get("expected", [])
    if not isinstance(language, str) or not isinstance(opening, str):
        raise AnswersError(f"{where}: `language` or `opening` is no text. A line is to be {EXAMPLE}.")
    if not isinstance(expected, list) or not all(isinstance(fact, str) for fact in expected):
        raise AnswersError(f"{where}: `expected` is no list of texts. A line is to be {EXAMPLE}.")
    temperature = _temperature(record.get("temperature"), where)
    return AnswerSet(prompt, kind, temperature, tuple(answers), language, tuple(expected), opening)


def _temperature(value: object, where: str) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise AnswersError(f"{where}: `temperature` is not a number from 0.")
    return f"{value:g}"


def _first_words(text: str, count: int) -> str:
    words = text.split(maxsplit=count)
    if len(words) <= count:
        return text
    return text[: len(text) - len(words[count])].rstrip()
