"""The form of a file: told by its content first, then by its ending, or forced."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from wmkml.corpora.encodings import Encoding, TextFile, detect_encoding, named_encoding
from wmkml.corpora.pairs import CorpusError
from wmkml.corpora.readers.instructions import looks_like_instructions
from wmkml.corpora.readers.prose import looks_like_prose
from wmkml.corpora.readers.run_folder import DATABASE

Form = Literal["prompts", "columns", "instructions", "alpaca", "dolly", "chat", "sharegpt", "completion", "text", "run"]

Container = Literal["csv", "tsv", "jsonl", "json", "parquet", "lines", "run", "folder", "hub"]
"""How records lie in a file, whatever their form; `lines`: text."""

FORMS: tuple[Form, ...] = get_args(Form)
FORMATS = (*FORMS, "csv", "tsv", "jsonl", "json", "parquet", "hub")
"""What `--format` may force: a form, or a container whose records are told by their columns."""

ENDINGS: Mapping[str, Container] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".txt": "lines",
    ".text": "lines",
    ".md": "lines",
    ".markdown": "lines",
}
"""Endings that are read, in a folder too."""

MARKDOWN = (".md", ".markdown")
BOTH_FORMS = {"instructions", "text"}

_ARRAY = re.compile(r"\s*\[\s*(?:[{\]\"\[]|-?\d+\s*[,\]]|$)")
_OBJECT = re.compile(r"\s*\{\s*(?:\"|\}|$)")


@dataclass(frozen=True)
class Recognised:
    """A file's container, its form where that is told already (else by its records), and its encoding; None: no text."""

    container: Container
    form: Form | Literal[""] = ""
    encoding: Encoding | None = None


def recognise(path: Path, forced: str = "", encoding_name: str = "") -> Recognised:
    """Tell what a file or folder is.

    Args:
        forced: one of FORMATS, or empty.
        encoding_name: the encoding, or empty: told by the bytes.

    Raises:
        CorpusError: it is nothing that is read, or not what it is forced to be.
        OSError: it may not be read.
    """
    if forced and forced not in FORMATS:
        raise CorpusError(f"There is no format {forced!r}; there are: {', '.join(FORMATS)}.")
    form: Form | Literal[""] = next((form for form in FORMS if form == forced), "")
    if path.is_dir():
        if (path / DATABASE).is_file() and forced in ("", "run"):
            return Recognised("run", "run")
        return Recognised("folder", form)
    with path.open("rb") as file:
        magic = file.read(16)
    if magic.startswith(b"PAR1") or forced == "parquet":
        return Recognised("parquet", _of_records(form, "Parquet", path))
    if magic.startswith(b"SQLite format 3"):
        if forced not in ("", "run"):
            raise CorpusError(f"{path} is a database; expected {forced}.")
        return Recognised("run", "run")
    if forced == "run":
        raise CorpusError(f"{path} is no run: expected a run's folder, or its {DATABASE}.")
    encoding = named_encoding(encoding_name, path) if encoding_name else detect_encoding(path)
    head = TextFile(path, encoding).head()
    container = _container(path, head, forced)
    if container != "lines":
        kinds = {"csv": "a table", "tsv": "a table"}
        return Recognised(container, _of_records(form, kinds.get(container, "JSON"), path), encoding)
    return Recognised("lines", _form_of_text(path, head, form), encoding)


def _of_records(form: Form | Literal[""], kind: str, path: Path) -> Form | Literal[""]:
    if form == "instructions":
        raise CorpusError(f"{path} holds {kind}; expected lines of instruction # answer.")
    return form


def _container(path: Path, head: str, forced: str) -> Container:
    ending = ENDINGS.get(path.suffix.lower())
    if forced in ("csv", "tsv"):
        return "csv" if forced == "csv" else "tsv"
    if forced in BOTH_FORMS and ending == "lines":
        return "lines"
    of_json = ending in ("json", "jsonl") or forced in ("json", "jsonl")
    if _ARRAY.match(head) and (of_json or re.match(r"\s*\[\s*(?:\{\s*[\"}]|$)", head)):
        return "json"
    if _OBJECT.match(head):
        if of_json or _first_line_is_object(head):
            _check_object_lines(path, head)
            return "jsonl"
    elif of_json:
        if not head.strip():
            return "jsonl"
        expected = "an object on each line, or an array of objects"
        line = len(head) - len(head.lstrip())
        if ending == "jsonl" or forced == "jsonl":
            return "jsonl"
        raise CorpusError(f"{path}, line {head.count(chr(10), 0, line) + 1}: expected JSON: {expected}.")
    if ending in ("csv", "tsv"):
        return ending
    if ending is None and forced == "columns":
        return "csv"
    if ending in (None, "lines") and (forced == "columns" or _is_tab_table(head)):
        return "tsv"
    return "lines"


def _first_line_is_object(head: str) -> bool:
    line = head.lstrip().partition("\n")[0]
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return len(line) > 2000  # cut off with the head, most likely


def _check_object_lines(path: Path, head: str) -> None:
    """Refuse a file that holds one object written over several lines.

    Raises:
        CorpusError: it is one.
    """
    first = head.lstrip().partition("\n")[0].strip()
    if first == "{" or (first.endswith((",", "{", "[")) and not first.endswith("},") and "\n" in head):
        line = head[: len(head) - len(head.lstrip())].count("\n") + 1
        raise CorpusError(
            f"{path}, line {line}: an object that goes on over several lines; expected an object on each line (JSONL), "
            "or an array of objects, which begins with [."
        )


def _is_tab_table(head: str) -> bool:
    from wmkml.corpora.records import form_of

    first = next((line for line in head.split("\n") if line.strip()), "")
    return "\t" in first and form_of(first.split("\t"), table=True) is not None


def _form_of_text(path: Path, head: str, form: Form | Literal[""]) -> Form:
    if form in ("instructions", "text", "prompts"):
        return form
    if form:
        raise CorpusError(f"{path} is text that is no table and no JSON; expected {form}.")
    if path.suffix.lower() in MARKDOWN:
        return "text"
    if looks_like_instructions(head):
        return "instructions"
    return "text" if looks_like_prose(head) else "prompts"
