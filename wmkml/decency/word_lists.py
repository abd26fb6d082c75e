"""The word lists: YAML files by language, with categories of entries and the endings that the language's words take.

Those that ship are in `words/` here.  A folder beside config.yaml (`general.words_folder`) may hold others: a file of the
same name takes the shipped one's place, any other is read as well.  `help_LANGUAGE.yaml` is no word list, but what
`wmkml.decency.help_line` looks for.

All lists apply to every text, whatever its language: people swear in several.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from wmkml.config.yaml_text import parse_yaml
from wmkml.decency.word_filter import WordFilter

SHIPPED_WORDS = Path(__file__).parent / "words"

HELP_PREFIX = "help_"
"""Of the files with the sentences that a line of help answers."""

UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue"}

KEYS = {"endings", "categories"}


class WordListError(ValueError):
    """A word list that cannot be used; the text names file and key, and what is expected."""


def list_files(folder: Path) -> list[Path]:
    """The files that apply, by name: those of the installation's folder, and the shipped ones that it does not replace."""
    by_name = {path.name: path for path in sorted(SHIPPED_WORDS.glob("*.yaml"))}
    if folder.is_dir():
        by_name |= {path.name: path for path in sorted(folder.glob("*.yaml"))}
    return [by_name[name] for name in sorted(by_name)]


def load_word_filter(folder: Path) -> WordFilter:
    """The filter of all word lists that apply.

    Args:
        folder: the installation's own lists; it may not exist.

    Raises:
        WordListError: a file is no word list.
    """
    entries: list[str] = []
    open_entries: list[str] = []
    for path in list_files(folder):
        if path.name.startswith(HELP_PREFIX):
            continue
        for entry in _forms(path):
            (open_entries if entry.endswith("*") else entries).append(entry.rstrip("*"))
    return WordFilter(entries, open_entries)


def read_yaml(path: Path) -> dict[str, Any]:
    """A file's content as a mapping.

    Raises:
        WordListError: it cannot be read, or is no mapping.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WordListError(f"{path}: cannot be read ({type(error).__name__}). Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise WordListError(f"{path}{line}: not YAML. See docs/decency.md for the form.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise WordListError(f"{path}: holds no keys. It has `endings:` and `categories:`; see docs/decency.md.")
    return content


def texts_of(path: Path, key: str, value: Any) -> list[str]:
    """A list of texts; empty for nothing.

    Raises:
        WordListError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise WordListError(
            f"{path}: {key}: a list of words is expected, as [word, two words]; words such as no and 1 stand in quotes."
        )
    return value


def _forms(path: Path) -> Iterator[str]:
    """Every form of every entry of a list; those that take any ending keep their star."""
    content = read_yaml(path)
    if unknown := [str(key) for key in content if key not in KEYS]:
        raise WordListError(f"{path}: {unknown[0]!r} is no key of a word list; it has `endings` and `categories`.")
    endings = texts_of(path, "endings", content.get("endings"))
    categories = content.get("categories") or {}
    if not isinstance(categories, dict):
        raise WordListError(f"{path}: categories: names with lists of words are expected, as `insults: [word]`.")
    for category, entries in categories.items():
        for entry in texts_of(path, f"categories.{category}", entries):
            for form in inflections(entry, endings):
                if sum(letter.isalpha() for letter in form) < 2:
                    raise WordListError(f"{path}: categories.{category}: an entry has two letters at least.")
                yield from spellings(form)


def inflections(entry: str, endings: list[str]) -> list[str]:
    """An entry with each ending; an ending also takes the place of a final e (`whore`, `whoring`).

    `=entry` takes none; `entry*` takes any, and keeps its star; an entry of several words takes none.
    """
    entry = entry.strip()
    if entry.startswith("="):
        return [entry[1:].strip()]
    if entry.endswith("*") or " " in entry:
        return [entry]
    forms = [entry + ending for ending in endings]
    if entry.endswith("e"):
        forms += [entry[:-1] + ending for ending in endings if ending[0] in "aeiou"]
    return [entry, *forms]


def spellings(form: str) -> set[str]:
    """A form with each of its umlauts as it is (folded away later), and as two letters (`ae`)."""
    choices = ((letter, UMLAUTS[letter]) if letter in UMLAUTS else (letter,) for letter in form.lower())
    return {"".join(letters) for letters in itertools.product(*choices)}
