"""The folders under `Datasets/`: which there are, what each holds, and whether all of it can be used.

A data set is a folder with one or several CSV files, named by its folder.  Standard library alone, since the owner
reads it.  Knows no config: the caller names the root and the sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wmkml.corpora.prompts import Problem, Prompt, PromptFile, read_prompts


@dataclass(frozen=True)
class Dataset:
    """A data set: its files in alphabetical order, and what is wrong with the folder itself."""

    name: str
    folder: Path
    files: tuple[PromptFile, ...]
    folder_problems: tuple[Problem, ...] = ()

    @property
    def prompts(self) -> list[str]:
        """Every prompt that can be used, file after file."""
        return [prompt.text for file in self.files for prompt in file.prompts]

    @property
    def problems(self) -> list[Problem]:
        """Every problem, the folder's first, then file after file by line."""
        return [*self.folder_problems, *(problem for file in self.files for problem in file.problems)]

    @property
    def broken(self) -> bool:
        """Whether something of the set had to be left out."""
        return any(problem.severity == "error" for problem in self.problems)


def list_datasets(root: Path) -> list[str]:
    """The names of the data sets under `root`: its folders that hold a CSV file.  A missing root holds none."""
    if not root.is_dir():
        return []
    return sorted(folder.name for folder in root.iterdir() if _is_name(folder.name) and _csv_files(folder))


def read_dataset(root: Path, name: str) -> Dataset:
    """Read every CSV file of one data set.

    Never raises for what is there or is missing: an unknown name, a name that is no plain folder name (`../x`), a
    folder without a CSV and a file that may not be read are problems of severity error.
    """
    folder = root / name
    if not _is_name(name):
        return _unusable(root, name, f"{name!r} is not a name of a data set; give a folder's name alone")
    if not folder.is_dir():
        known = ", ".join(list_datasets(root)) or "none"
        return _unusable(folder, name, f"there is no such data set; there are: {known}")
    paths = _csv_files(folder)
    if not paths:
        return _unusable(folder, name, "the folder holds no CSV file; put one in, a prompt in each row")
    files = tuple(_read(path) for path in paths)
    return Dataset(name, folder, files, tuple(_repeated_across(files)))


def check_all(root: Path, names: Iterable[str] | None = None) -> list[Problem]:
    """Every problem of the named data sets, or, without names, of all there are.  Empty means all is well."""
    chosen = list_datasets(root) if names is None else list(dict.fromkeys(names))
    return [problem for name in chosen for problem in read_dataset(root, name).problems]


def _is_name(name: str) -> bool:
    return bool(name) and Path(name).name == name and "\\" not in name and "\x00" not in name and name[0] not in "._"


def _csv_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")


def _unusable(path: Path, name: str, text: str) -> Dataset:
    return Dataset(name, path, (), (Problem(path, 0, "error", text),))


def _read(path: Path) -> PromptFile:
    try:
        return read_prompts(path)
    except OSError as error:
        return PromptFile(path, (), (Problem(path, 0, "error", f"cannot be read: {error.strerror}"),))


def _repeated_across(files: tuple[PromptFile, ...]) -> list[Problem]:
    first: dict[str, tuple[PromptFile, Prompt]] = {}
    problems = []
    for file in files:
        for prompt in file.prompts:
            key = " ".join(prompt.text.split()).casefold()
            other, earlier = first.setdefault(key, (file, prompt))
            if other is not file:
                text = f"the same prompt as in {other.path.name}, line {earlier.line}"
                problems.append(Problem(file.path, prompt.line, "warning", text))
    return problems
