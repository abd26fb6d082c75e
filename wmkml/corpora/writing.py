"""Write a corpus in any of the forms that are read.

What a form cannot hold (a conversation's context in a table, a line break in an instruction file) is left out and said,
pair by pair; nothing is bent to fit.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from wmkml.corpora.corpus import Corpus
from wmkml.corpora.pairs import CorpusError, Pair, RecordRefusedError, RefusedLine, Turn
from wmkml.corpora.readers.delimited import MOST_LINES
from wmkml.corpora.readers.instructions import EVALUATION_MARK, is_comment
from wmkml.corpora.recognition import ENDINGS

FORM_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "prompts": (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet"),
    "columns": (".csv", ".tsv", ".jsonl", ".json", ".parquet"),
    "instructions": (".txt",),
    "alpaca": (".json", ".jsonl", ".csv", ".tsv", ".parquet"),
    "dolly": (".jsonl", ".json", ".csv", ".tsv", ".parquet"),
    "chat": (".jsonl", ".json", ".parquet"),
    "sharegpt": (".json", ".jsonl", ".parquet"),
    "completion": (".jsonl", ".json", ".csv", ".tsv", ".parquet"),
    "text": (".txt", ".md", ".jsonl", ".json", ".parquet"),
}
"""By form, the endings of the files it is written to, the usual one first."""

LARGEST_CELL = 100_000
"""Characters of a table's cell; readers take a longer one for a quotation mark that is missing."""

ROWS_TOGETHER = 1000
"""Rows of a row group of Parquet."""


@dataclass(frozen=True)
class Written:
    """What was written: how many pairs, and what was left out and why."""

    pairs: int
    left_out: list[RefusedLine]
    left_out_count: int


LEFT_OUT_SHOWN = 100
"""Pairs left out that are named one by one; more are counted."""


def usual_form(path: Path, has_context: bool, has_answers: bool, has_passages: bool) -> str:
    """The form that fits an ending and what a corpus holds.

    Raises:
        CorpusError: nothing is written to such an ending.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS or ending not in {known for endings in FORM_ENDINGS.values() for known in endings}:
        raise CorpusError(f"{path}: the ending {ending or '(none)'} is not known; known: {', '.join(_all_endings())}.")
    if has_passages or ending == ".md":
        return "text"
    if not has_answers:
        return "prompts"
    if ending == ".txt":
        return "instructions"
    if has_context:
        return "sharegpt" if ending == ".json" else "chat"
    return {".json": "alpaca", ".jsonl": "completion"}.get(ending, "columns")


def check_form(path: Path, form: str) -> None:
    """Check that a form can be written to a file of this ending.

    Raises:
        CorpusError: it cannot.
    """
    if form not in FORM_ENDINGS:
        raise CorpusError(f"There is no form {form!r} to write; there are: {', '.join(FORM_ENDINGS)}.")
    if path.suffix.lower() not in FORM_ENDINGS[form]:
        raise CorpusError(f"{path}: {form} is written to files with the ending {', '.join(FORM_ENDINGS[form])}.")


def write_corpora(corpora: Iterable[Corpus], path: Path, form: str) -> Written:
    """Write all pairs of these corpora to one file, which appears complete or not at all.

    Both parts are kept: as a column `split` where there are pairs to evaluate with, or behind `_EVAL_`.

    Raises:
        CorpusError: the form does not go with the file's ending, or a corpus cannot be read on.
        OSError: the file cannot be written.
    """
    check_form(path, form)
    sources = list(corpora)
    has_evaluation = any(corpus.counts().evaluation for corpus in sources)
    writer = _Writer(form, path.suffix.lower(), has_evaluation)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with _sink(unfinished, path.suffix.lower()) as write:
            writer.write(sources, write)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return Written(writer.written, writer.left_out, writer.left_out_count)


def _all_endings() -> list[str]:
    return list(dict.fromkeys(ending for endings in FORM_ENDINGS.values() for ending in endings))


Write = Callable[[dict[str, Any] | str], None]
"""Writes a record, or to a text file a line."""


class _Writer:
    def __init__(self, form: str, ending: str, has_evaluation: bool) -> None:
        self._form, self._ending, self._has_evaluation = form, ending, has_evaluation
        self.written = 0
        self.left_out: list[RefusedLine] = []
        self.left_out_count = 0

    def write(self, sources: list[Corpus], write: Write) -> None:
        if self._form in ("chat", "sharegpt"):
            for corpus in sources:
                for pairs in _conversations(corpus.pairs()):
                    self._write(corpus, pairs, write)
            return
        parts: tuple[Any, ...] = ("train", "evaluation") if self._form == "instructions" else (None,)
        for part in parts:
            if part == "evaluation" and self._has_evaluation:
                write(f"# {EVALUATION_MARK}")
            for corpus in sources:
                for pair in corpus.pairs(part):
                    self._write(corpus, [pair], write)

    def _write(self, corpus: Corpus, pairs: list[Pair], write: Write) -> None:
        try:
            write(self._record(pairs))
        except RecordRefusedError as refusal:
            self.left_out_count += len(pairs)
            if len(self.left_out) < LEFT_OUT_SHOWN:
                self.left_out.append(RefusedLine(pairs[0].line, str(refusal), corpus.source))
        else:
            self.written += len(pairs)

    def _record(self, pairs: list[Pair]) -> dict[str, Any] | str:
        pair = pairs[-1]
        if self._ending in (".txt", ".md"):
            return self._line(pair)
        record = _RECORDS[self._form](pairs)
        if self._ending in (".csv", ".tsv"):
            for text in record.values():
                if len(text) > LARGEST_CELL or text.count("\n") >= MOST_LINES:
                    raise RecordRefusedError(f"a text of more than {LARGEST_CELL:,} characters or {MOST_LINES:,} lines")
        if self._has_evaluation:
            record["split"] = pair.part
        return record

    def _line(self, pair: Pair) -> str:
        if self._has_evaluation and self._form != "instructions" and pair.part == "evaluation":
            raise RecordRefusedError(f"{self._form} as text has no evaluation part")
        if self._form == "text":
            return f"{_passage(pair)['text']}\n"
        prompt, answer = _without_context(pair, answered=self._form == "instructions")
        if "\n" in prompt or "\n" in answer:
            raise RecordRefusedError("a line break, which a file of lines cannot hold")
        if self._form == "prompts":
            if is_comment(prompt):
                raise RecordRefusedError(
                    "a # and a blank at the beginning, which begins a comment in a file of prompts"
                )
            return prompt
        if "#" in answer or prompt.startswith("#"):
            raise RecordRefusedError("a # in the answer or at the beginning, which an instruction file cannot hold")
        return f"{prompt} # {answer}"


def _without_context(pair: Pair, *, answered: bool) -> tuple[str, str]:
    if pair.is_passage:
        raise RecordRefusedError("a passage without a prompt; write the form text")
    if pair.context:
        raise RecordRefusedError("a conversation's context, which this form cannot hold; write chat or sharegpt")
    if answered and pair.answer is None:
        raise RecordRefusedError("a prompt without an answer; write the form prompts")
    if not answered and pair.answer is not None:
        raise RecordRefusedError("a pair with an answer, which the form prompts cannot hold")
    return pair.prompt, pair.answer or ""


def _prompts(pairs: list[Pair]) -> dict[str, Any]:
    return {"prompt": _without_context(pairs[-1], answered=False)[0]}


def _columns(pairs: list[Pair]) -> dict[str, Any]:
    return dict(zip(("prompt", "answer"), _without_context(pairs[-1], answered=True), strict=True))


def _completion(pairs: list[Pair]) -> dict[str, Any]:
    return dict(zip(("prompt", "completion"), _without_context(pairs[-1], answered=True), strict=True))


def _alpaca(pairs: list[Pair]) -> dict[str, Any]:
    prompt, answer = _without_context(pairs[-1], answered=True)
    return {"instruction": prompt, "input": "", "output": answer}


def _dolly(pairs: list[Pair]) -> dict[str, Any]:
    prompt, answer = _without_context(pairs[-1], answered=True)
    return {"instruction": prompt, "context": "", "response": answer, "category": pairs[-1].category}


def _passage(pair: Pair) -> dict[str, Any]:
    if not pair.is_passage:
        raise RecordRefusedError("a pair with a prompt; the form text holds passages alone")
    return {"text": pair.answer}


def _chat(pairs: list[Pair]) -> dict[str, Any]:
    return {"messages": _turns(pairs, "role", "content", {})}


def _sharegpt(pairs: list[Pair]) -> dict[str, Any]:
    return {"conversations": _turns(pairs, "from", "value", {"user": "human", "assistant": "gpt"})}


def _turns(pairs: list[Pair], role: str, text: str, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The messages of a conversation; an answer that is none of these pairs' is context only, weight 0."""
    last = pairs[-1]
    if last.is_passage or last.answer is None:
        raise RecordRefusedError("a prompt or an answer alone; a conversation needs both")
    turns = [*last.context, Turn("user", last.prompt), Turn("assistant", last.answer)]
    taught = {len(pair.context) + 1 for pair in pairs}
    return [
        {role: names.get(turn.role, turn.role), text: turn.text}
        | ({"weight": 0} if turn.role == "assistant" and number not in taught else {})
        for number, turn in enumerate(turns)
    ]


def _conversations(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Successive pairs that are one conversation, together."""
    together: list[Pair] = []
    for pair in pairs:
        if together and _goes_on(together[-1], pair):
            together.append(pair)
            continue
        if together:
            yield together
        together = [pair]
    if together:
        yield together


def _goes_on(before: Pair, pair: Pair) -> bool:
    if before.answer is None or pair.answer is None or before.is_passage or before.part != pair.part:
        return False
    turns = (*before.context, Turn("user", before.prompt), Turn("assistant", before.answer))
    return pair.context[: len(turns)] == turns


_RECORDS: Mapping[str, Callable[[list[Pair]], dict[str, Any]]] = {
    "prompts": _prompts,
    "columns": _columns,
    "completion": _completion,
    "alpaca": _alpaca,
    "dolly": _dolly,
    "chat": _chat,
    "sharegpt": _sharegpt,
    "text": lambda pairs: _passage(pairs[-1]),
}


@contextmanager
def _sink(path: Path, ending: str) -> Iterator[Write]:
    """A function that writes to a file of this ending, record by record."""
    if ending == ".parquet":
        with _parquet_sink(path) as write:
            yield write
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if ending in (".csv", ".tsv"):
            yield _table_sink(file, "\t" if ending == ".tsv" else ",")
        elif ending == ".json":
            opened = False

            def write_element(record: dict[str, Any] | str) -> None:
                nonlocal opened
                file.write((",\n" if opened else "[\n") + json.dumps(record, ensure_ascii=False))
                opened = True

            yield write_element
            file.write("\n]\n" if opened else "[]\n")
        elif ending == ".jsonl":
            yield lambda record: _write_line(file, json.dumps(record, ensure_ascii=False))
        else:
            yield lambda line: _write_line(file, str(line))


def _write_line(file: TextIO, line: str) -> None:
    file.write(f"{line}\n")


def _table_sink(file: TextIO, delimiter: str) -> Write:
    rows = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    header: list[str] = []

    def write(record: dict[str, Any] | str) -> None:
        assert isinstance(record, dict)
        if not header:
            header.extend(record)
            rows.writerow(header)
        rows.writerow([record[name] for name in header])

    return write


@contextmanager
def _parquet_sink(path: Path) -> Iterator[Write]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise CorpusError(
            f"{path}: Parquet needs pyarrow, which is not installed: pip install 'wmkml[parquet]'"
        ) from None
    waiting: list[dict[str, Any]] = []
    writer: Any = None

    def flush() -> None:
        nonlocal writer
        if writer is None:
            table = pyarrow.Table.from_pylist(waiting)
            writer = pyarrow.parquet.ParquetWriter(path, table.schema)
        else:
            table = pyarrow.Table.from_pylist(waiting, writer.schema)
        writer.write_table(table)
        waiting.clear()

    def write(record: dict[str, Any] | str) -> None:
        assert isinstance(record, dict)
        # Every message has the same fields, in all batches.
        for turns in record.values():
            if isinstance(turns, list):
                for turn in turns:
                    turn.setdefault("weight", 1)
        waiting.append(record)
        if len(waiting) >= ROWS_TOGETHER:
            flush()

    try:
        yield write
        if waiting or writer is None:
            flush()
    finally:
        if writer is not None:
            writer.close()
