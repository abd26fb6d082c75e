"""The data sets under `Datasets/`: their names, prompts and problems.

A data set is a folder with one or several files of any form that `corpus.py` reads, and has the folder's name.  Its prompts
are those of the training part that stand alone; answers in the files do not count, since the dying model answers.  Standard
library only (but for Parquet), since the owner reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wmkml.corpora.corpus import Corpus, ReadingOptions, files_of, read
from wmkml.corpora.pairs import CorpusError, Pair, RefusedLine
from wmkml.corpora.prompts import DatasetPrompt, Problem, PromptFile, check_prompt, read_prompts
from wmkml.corpora.readers.prose import opening
from wmkml.corpora.readers.run_folder import DATABASE
from wmkml.corpora.recognition import ENDINGS

MARK_FILE = "dataset.yaml"
"""What is said of a set beside its files; it is no prompt file."""

MOST_PROMPTS = 50_000
"""Prompts that are read of a file: the owner holds them in memory, and no run answers more."""

MOST_PROBLEMS = 200
"""Problems of a file that are named one by one."""

LARGEST_TABLE = 32 << 20
"""Bytes of a CSV file that is read whole, with all warnings that `prompts.py` has; a larger one is streamed."""

STRUCTURED = ("alpaca", "dolly", "chat", "sharegpt")
"""Forms of a CSV file whose prompts are more than one column."""


@dataclass(frozen=True)
class Dataset:
    """A data set: its files in alphabetical order, and the problems of the folder itself."""

    name: str
    folder: Path
    files: tuple[PromptFile, ...]
    folder_problems: tuple[Problem, ...] = ()

    @property
    def prompts(self) -> list[str]:
        """All usable prompts, file after file."""
        return [prompt.text for file in self.files for prompt in file.prompts]

    @property
    def problems(self) -> list[Problem]:
        """All problems: the folder's first, then file after file by line."""
        return [*self.folder_problems, *(problem for file in self.files for problem in file.problems)]

    @property
    def broken(self) -> bool:
        """Whether part of the set is unusable."""
        return any(problem.severity == "error" for problem in self.problems)


def list_datasets(root: Path) -> list[str]:
    """The names of the data sets under `root`: its folders with a file that is read; empty if `root` does not exist."""
    if not root.is_dir():
        return []
    return sorted(folder.name for folder in root.iterdir() if _is_name(folder.name) and _files(folder))


def read_dataset(root: Path, name: str) -> Dataset:
    """Read every file of one data set.

    Never raises: an unknown name, a name that is not a plain folder name (`../x`), a folder without a file that is read and
    an unreadable file are problems of severity error.
    """
    folder = root / name
    if not _is_name(name):
        return _unusable(root, name, f"{name!r} is not a name of a data set; give a folder's name alone")
    if not folder.is_dir():
        known = ", ".join(list_datasets(root)) or "none"
        return _unusable(folder, name, f"there is no such data set; there are: {known}")
    paths = _files(folder)
    if not paths:
        expected = f"holds no file that is read ({', '.join(ENDINGS)})"
        return _unusable(
            folder, name, f"the folder {expected}; put one in, for instance a CSV file with a prompt in each row"
        )
    files = tuple(_read(path) for path in paths)
    return Dataset(name, folder, files, tuple(_repeated_across(files)))


def is_adult(root: Path, name: str) -> bool:
    """Whether a set is marked as not for everybody: its folder's `dataset.yaml` says `adult: true`.

    The mark is a line of its own, so that reading it needs no library.
    """
    try:
        lines = (root / name / MARK_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(re.fullmatch(r"adult:\s*true\s*(#.*)?", line.strip(), re.IGNORECASE) for line in lines)


def check_datasets(root: Path, names: Iterable[str] | None = None) -> list[Problem]:
    """All problems of the named data sets; None: of all under `root`."""
    unique_names = list_datasets(root) if names is None else list(dict.fromkeys(names))
    return [problem for name in unique_names for problem in read_dataset(root, name).problems]


def _is_name(name: str) -> bool:
    return bool(name) and Path(name).name == name and "\\" not in name and "\x00" not in name and name[0] not in "._"


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    database = folder / DATABASE
    return [database] if database.is_file() else files_of(folder)


def _unusable(path: Path, name: str, text: str) -> Dataset:
    return Dataset(name, path, (), (Problem(path, 0, "error", text),))


def _read(path: Path) -> PromptFile:
    try:
        if path.suffix.lower() == ".csv" and path.stat().st_size <= LARGEST_TABLE and not _is_structured(path):
            return read_prompts(path)
        return _prompts_of(read(path, ReadingOptions(text_rule="opening")), path)
    except OSError as error:
        return PromptFile(path, (), (Problem(path, 0, "error", f"cannot be read: {error.strerror}"),))
    except CorpusError as error:
        return PromptFile(path, (), (Problem(path, 0, "error", str(error).removeprefix(f"{path}, ")),))


def _is_structured(path: Path) -> bool:
    """Whether a CSV file is of a form whose prompts are more than its first column; what is no such table is prompts."""
    try:
        return any(form in STRUCTURED for form in read(path).form.split(", "))
    except CorpusError:
        return False


def _prompts_of(corpus: Corpus, path: Path) -> PromptFile:
    prompts: list[DatasetPrompt] = []
    problems = _Problems(path)
    seen: dict[str, int] = {}
    later = 0
    for entry in corpus.entries():
        if len(prompts) >= MOST_PROMPTS:
            problems.whole.append(f"only the first {MOST_PROMPTS:,} prompts are used")
            break
        if isinstance(entry, RefusedLine):
            problems.add(Problem(path, entry.line, "error", entry.reason))
        elif entry.part == "train" and _stands_alone(entry):
            text = opening(entry.answer or "") if entry.is_passage else entry.prompt
            for problem in check_prompt(path, entry.line, text, seen):
                problems.add(problem)
            prompts.append(DatasetPrompt(entry.line, text))
        elif entry.part == "train":
            later += 1
    if later:
        problems.whole.append(
            f"{later:,} prompts go on a conversation and are left out: a prompt of a data set stands alone"
        )
    if not prompts and not problems.broken:
        problems.add(Problem(path, 0, "error", "holds no prompt to train on"))
    return PromptFile(path, tuple(prompts), tuple(problems.listed()))


class _Problems:
    """The problems of a file: the first MOST_PROBLEMS of them by line, the others counted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first: list[Problem] = []
        self._more = 0
        self.broken = False
        """Whether one is an error."""
        self.whole: list[str] = []
        """Warnings of the file as a whole."""

    def add(self, problem: Problem) -> None:
        self.broken = self.broken or problem.severity == "error"
        if len(self._first) < MOST_PROBLEMS:
            self._first.append(problem)
        else:
            self._more += 1

    def listed(self) -> list[Problem]:
        problems = [Problem(self._path, 0, "warning", text) for text in self.whole] + self._first
        if self._more:
            text = f"{self._more:,} more problems; `wmkml corpus {self._path}` names all"
            problems.append(Problem(self._path, 0, "error" if self.broken else "warning", text))
        return problems


def _stands_alone(pair: Pair) -> bool:
    return all(turn.role == "system" for turn in pair.context)


def _repeated_across(files: tuple[PromptFile, ...]) -> list[Problem]:
    first: dict[str, tuple[PromptFile, DatasetPrompt]] = {}
    problems = []
    for file in files:
        for prompt in file.prompts:
            key = " ".join(prompt.text.split()).casefold()
            other, earlier = first.setdefault(key, (file, prompt))
            if other is not file:
                text = f"the same prompt as in {other.path.name}, line {earlier.line}"
                problems.append(Problem(file.path, prompt.line, "warning", text))
    return problems
