"""From a record (a row, a JSON object) to pairs: Alpaca, Dolly, chat, ShareGPT, prompt and completion, any two columns.

Each record is told by its own keys, so that a file may mix forms; with a form asked for, others are refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from wmkml.corpora.columns import (
    ANSWER_NAMES,
    EXTRA_NAMES,
    OTHER_NAMES,
    PROMPT_NAMES,
    Columns,
    column_of,
    listed,
    nearest,
    value_text,
)
from wmkml.corpora.pairs import Entry, Pair, Part, Record, RecordRefusedError, RefusedLine, Turn, clean
from wmkml.corpora.readers.conversations import pairs_of_conversation

EXPECTED: Mapping[str, str] = {
    "prompts": "a prompt",
    "columns": "a prompt and an answer",
    "alpaca": "instruction and output (and input)",
    "dolly": "instruction and response (and context, category)",
    "chat": "messages: a list of objects with role and content",
    "sharegpt": "conversations: a list of objects with from and value",
    "completion": "prompt and completion",
    "text": "text",
}
"""What a record of each form holds, for messages."""

PARTS: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("evaluation", "eval", "test", "validation", "valid", "val", "dev"), "evaluation"),
}
"""Names of the parts of a corpus, in any case: of a column `split`, of files in a folder, of a data set's splits."""

CHAT_KEYS = {"messages": "chat", "conversations": "sharegpt", "conversation": "sharegpt", "dialog": "sharegpt"}


def form_of(keys: Iterable[str], *, table: bool = False) -> str | None:
    """The form that these keys are of; None if they are of none.

    Args:
        table: whether they are a CSV file's header, where `text` is a prompt; elsewhere it is a passage.
    """
    folded = {key.strip().casefold() for key in keys}
    for key, form in CHAT_KEYS.items():
        if key in folded:
            return form
    prompt, answer = _first(PROMPT_NAMES, folded), _first(ANSWER_NAMES, folded)
    if prompt is None:
        return None
    if answer is None:
        return "text" if prompt == "text" and not table else "prompts"
    if "instruction" in folded:
        return "dolly" if answer == "response" else "alpaca"
    return "completion" if (prompt, answer) == ("prompt", "completion") else "columns"


def _first(names: Iterable[str], folded: set[str]) -> str | None:
    return next((name for name in names if name in folded), None)


@dataclass
class RecordReader:
    """Makes pairs of records.

    Attributes:
        form: the form asked for; empty: each record is told by its keys.
        columns: the columns asked for; they go before any form.
        table: whether the records are rows of a CSV file.
        forms: how many records were of which form, so far.
    """

    form: str = ""
    columns: Columns = field(default_factory=Columns)
    table: bool = False
    forms: Counter[str] = field(default_factory=Counter)

    def entries(self, records: Iterable[Record | Entry]) -> Iterator[Entry]:
        """The pairs of every record, and a refusal in place of each that cannot be used; what is a pair already stays."""
        for record in records:
            if not isinstance(record, Record):
                yield record
                continue
            try:
                pairs = self.pairs(record)
            except RecordRefusedError as refusal:
                yield RefusedLine(record.line, str(refusal))
            else:
                yield from pairs

    def pairs(self, record: Record) -> list[Entry]:
        """The pairs of one record: several for a conversation.

        Raises:
            RecordRefusedError: it cannot be used.
        """
        part = self._part(record)
        if self.columns.wanted:
            self.forms["columns"] += 1
            prompt, answer = self.columns.texts(record.values)
            return [_pair(prompt, answer, record.line, part)]
        form = self.form or form_of(record.values, table=self.table)
        if form is None:
            raise RecordRefusedError(self._unknown(record.values))
        pairs = _FORMS[form](_Values(record.values), record.line, part)
        self.forms[form] += 1
        return pairs

    def _part(self, record: Record) -> Part:
        key = column_of(record.values, "split")
        name = record.values[key] if key is not None else None
        return PARTS.get(name.strip().casefold(), record.part) if isinstance(name, str) else record.part

    @staticmethod
    def _unknown(values: Mapping[str, object]) -> str:
        return unknown_columns(values)


def unknown_columns(names: Iterable[str]) -> str:
    """A sentence about columns of which none is known, with what was expected and what they are like."""
    shown = list(names)
    known = [*PROMPT_NAMES, *ANSWER_NAMES, *OTHER_NAMES]
    alike = [(name, near) for name in shown[:20] if (near := nearest(name, known))]
    hints = "".join(f"; did you mean {near} by {name}?" for name, near in alike)
    return (
        f"no column is known as a prompt among {listed(shown)}{hints}; expected one of "
        f"{', '.join(PROMPT_NAMES[:-1])}, messages or conversations, or --prompt-column and --answer-column"
    )


class _Values(dict[str, object]):
    """A record's values by the names of its columns in small letters."""

    def __init__(self, values: Mapping[str, object]) -> None:
        super().__init__({key.strip().casefold(): value for key, value in values.items()})
        self.written = list(values)

    def text(self, name: str) -> str:
        return value_text(self.get(name), name)

    def needed(self, names: Iterable[str], form: str) -> str:
        """The name of the first of these columns that is there."""
        wanted = list(names)
        name = next((name for name in wanted if name in self), None)
        if name is None:
            near = [f"did you mean {wanted[0]} by {key}?" for key in self.written[:20] if nearest(key, wanted)]
            has = f"found {listed(self.written)}"
            raise RecordRefusedError("; ".join([f"expected {EXPECTED[form]}", has, *near[:1]]))
        return name


def _pair(prompt: str, answer: str | None, line: int, part: Part, category: str = "") -> Pair:
    return Pair(
        clean(prompt, "the prompt"),
        None if answer is None else clean(answer, "the answer"),
        part=part,
        category=category.strip(),
        line=line,
    )


def _instructed(values: _Values, line: int, part: Part, form: str, answers: Iterable[str]) -> list[Entry]:
    prompt = values.text(values.needed(("instruction",), form))
    answer = values.text(values.needed(answers, form))
    pair = _pair(_with_extra(values, prompt, "instruction"), answer, line, part, values.text("category"))
    context = _history(values)
    return [replace(pair, context=context) if context else pair]


def _with_extra(values: _Values, prompt: str, prompt_name: str) -> str:
    extras = [values.text(name).strip() for name in EXTRA_NAMES if name != prompt_name]
    return "\n\n".join([prompt.strip(), *filter(None, extras)]) if prompt.strip() else prompt


def _history(values: _Values) -> tuple[Turn, ...]:
    """What came before, as some Alpaca files have it: `system`, and `history`, a list of prompts with their answers."""
    turns = []
    if system := values.text("system").strip():
        turns.append(Turn("system", clean(system, "the system prompt")))
    history = values.get("history")
    if history is None or history == "":
        return tuple(turns)
    if not isinstance(history, list | tuple):
        raise RecordRefusedError("history: expected a list of prompts with their answers")
    for exchange in history:
        if not isinstance(exchange, list | tuple) or len(exchange) != 2:
            raise RecordRefusedError("history: expected a list of prompts with their answers")
        turns.append(Turn("user", clean(value_text(exchange[0], "history"), "a prompt of history")))
        turns.append(Turn("assistant", clean(value_text(exchange[1], "history"), "an answer of history")))
    return tuple(turns)


def _alpaca(values: _Values, line: int, part: Part) -> list[Entry]:
    return _instructed(values, line, part, "alpaca", ANSWER_NAMES_OF_ALPACA)


def _dolly(values: _Values, line: int, part: Part) -> list[Entry]:
    return _instructed(values, line, part, "dolly", ("response",))


ANSWER_NAMES_OF_ALPACA = ("output", *(name for name in ANSWER_NAMES if name != "output"))


def _columns(values: _Values, line: int, part: Part, form: str = "columns") -> list[Entry]:
    prompts, answers = (("prompt",), ("completion",)) if form == "completion" else (PROMPT_NAMES, ANSWER_NAMES)
    prompt_name, answer_name = values.needed(prompts, form), values.needed(answers, form)
    prompt, answer = values[prompt_name], values[answer_name]
    if isinstance(prompt, list) and isinstance(answer, list):  # both as messages, as TRL writes them
        return pairs_of_conversation([*prompt, *answer], line, part)[-1:]
    text = _with_extra(values, value_text(prompt, prompt_name), prompt_name)
    return [_pair(text, value_text(answer, answer_name), line, part, values.text("category"))]


def _completion(values: _Values, line: int, part: Part) -> list[Entry]:
    return _columns(values, line, part, "completion")


def _prompts(values: _Values, line: int, part: Part) -> list[Entry]:
    name = values.needed(PROMPT_NAMES, "prompts")
    return [_pair(_with_extra(values, values.text(name), name), None, line, part)]


def _passage(values: _Values, line: int, part: Part) -> list[Entry]:
    text = clean(values.text(values.needed(("text",), "text")), "the text")
    return [Pair("", text, part=part, line=line)]


def _conversation(values: _Values, line: int, part: Part, form: str, keys: Iterable[str]) -> list[Entry]:
    messages = values[values.needed(keys, form)]
    if isinstance(messages, str):  # a list in a cell of a table
        try:
            messages = json.loads(messages)
        except (ValueError, RecursionError):
            raise RecordRefusedError(f"expected {EXPECTED[form]}; found text that is no JSON") from None
    return pairs_of_conversation(messages, line, part, values.text("system"))


def _chat(values: _Values, line: int, part: Part) -> list[Entry]:
    return _conversation(values, line, part, "chat", ("messages",))


def _sharegpt(values: _Values, line: int, part: Part) -> list[Entry]:
    return _conversation(values, line, part, "sharegpt", ("conversations", "conversation", "dialog"))


_FORMS: Mapping[str, Callable[[_Values, int, Part], list[Entry]]] = {
    "prompts": _prompts,
    "columns": _columns,
    "alpaca": _alpaca,
    "dolly": _dolly,
    "chat": _chat,
    "sharegpt": _sharegpt,
    "completion": _completion,
    "text": _passage,
}
