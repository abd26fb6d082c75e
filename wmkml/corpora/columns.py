"""Which columns of a table or record are prompt and answer: by name, by request, or by a template over columns."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from wmkml.corpora.pairs import CorpusError, RecordRefusedError

PROMPT_NAMES = (
    "prompt",
    "prompts",
    "question",
    "questions",
    "frage",
    "fragen",
    "instruction",
    "anweisung",
    "query",
    "eingabe",
    "input",
    "text",
)
"""Names of prompt columns, in any case; of several the first counts.  `text` alone, in JSON and Parquet, is a passage."""

ANSWER_NAMES = ("answer", "completion", "response", "output", "antwort", "ausgabe", "target")
"""Names of answer columns, in any case; of several the first counts."""

EXTRA_NAMES = ("input", "context")
"""Columns that hold what a prompt is about; their text follows it after an empty line."""

OTHER_NAMES = ("messages", "conversations", "conversation", "category", "split")

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Template:
    """A text over columns: `{name}` stands for a column, `{{` and `}}` for braces."""

    text: str

    def __post_init__(self) -> None:
        for match in _PLACEHOLDER.finditer(self.text):
            if match[0] in ("{", "}"):
                raise CorpusError(f"The template {self.text!r} has a single {match[0]}; a brace is written twice.")
            if match[1] is not None and not match[1].strip():
                raise CorpusError(f"The template {self.text!r} has an empty placeholder; name a column in it.")
        if not self.columns:
            raise CorpusError(f"The template {self.text!r} names no column; write one as {{name}}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it names, in order."""
        names = (match[1] for match in _PLACEHOLDER.finditer(self.text))
        return tuple(dict.fromkeys(name.strip() for name in names if name is not None))

    def fill(self, values: Mapping[str, object]) -> str:
        """The text for one record.

        Raises:
            RecordRefusedError: a column is missing, empty or no text.
        """

        def replacement(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0][0]
            name = match[1].strip()
            if not (text := value_text(required(values, name), name)).strip():
                raise RecordRefusedError(f"the column {name} is empty")
            return text

        return _PLACEHOLDER.sub(replacement, self.text)


@dataclass(frozen=True)
class Columns:
    """The columns somebody asks for; a column and a template for the same thing exclude each other."""

    prompt: str = ""
    answer: str = ""
    prompt_template: str = ""
    answer_template: str = ""

    def __post_init__(self) -> None:
        for name in ("prompt", "answer"):
            if getattr(self, name) and getattr(self, f"{name}_template"):
                raise CorpusError(f"Give --{name}-column or --{name}-template, not both.")
        if self.wanted and not (self.prompt or self.prompt_template):
            raise CorpusError(
                "The answer's column alone says no prompt: give --prompt-column or --prompt-template too."
            )

    @property
    def wanted(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.prompt or self.answer or self.prompt_template or self.answer_template)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is needed."""
        templates = [Template(text) for text in (self.prompt_template, self.answer_template) if text]
        named = [name for name in (self.prompt, self.answer) if name]
        return tuple(dict.fromkeys([*named, *(name for template in templates for name in template.columns)]))

    def texts(self, values: Mapping[str, object]) -> tuple[str, str | None]:
        """Prompt and answer of one record; None for the answer where none is asked for.

        Raises:
            RecordRefusedError: a column is missing, or holds no text.
        """
        prompt = self._text(values, self.prompt, self.prompt_template)
        wants_answer = bool(self.answer or self.answer_template)
        return prompt, self._text(values, self.answer, self.answer_template) if wants_answer else None

    @staticmethod
    def _text(values: Mapping[str, object], column: str, template: str) -> str:
        return Template(template).fill(values) if template else value_text(required(values, column), column)


def required(values: Mapping[str, object], name: str) -> object:
    """A record's value, its name in any case.

    Raises:
        RecordRefusedError: there is no such column; the message suggests the nearest.
    """
    key = column_of(values, name)
    if key is None:
        raise RecordRefusedError(missing_column(name, values))
    return values[key]


def column_of(names: Iterable[str], name: str) -> str | None:
    """The column of this name: as it is written, else in another case."""
    written = list(names)
    if name in written:
        return name
    return next((other for other in written if other.strip().casefold() == name.strip().casefold()), None)


def missing_column(name: str, names: Iterable[str]) -> str:
    """A sentence about a column that is not there, with the nearest that is."""
    known = [str(other) for other in names]
    near = nearest(name, known[:1000])
    hint = f"; did you mean {near}?" if near else ""
    return f"there is no column {name}; there are: {listed(known)}{hint}"


def listed(names: Iterable[str]) -> str:
    """Names of columns for a message: the first twenty, the beginning of each."""
    return ", ".join(name[:40] for name in itertools.islice(names, 20)) or "none"


def nearest(name: str, names: Collection[str]) -> str:
    """The name most like another, in any case; empty if none is alike."""
    by_folded = {other.strip().casefold(): other for other in names}
    close = difflib.get_close_matches(name.strip().casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else ""


def value_text(value: object, name: str) -> str:
    """A value as text; empty for what is missing.

    Raises:
        RecordRefusedError: it is a list, an object, or true or false.
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordRefusedError(f"{name}: expected text, found {_kind(value)}")
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python writes
        raise RecordRefusedError(f"{name}: expected text, found a number of thousands of digits") from None


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a value of the kind {type(value).__name__}"
