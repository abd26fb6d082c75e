"""The artist's folder of the stage, read again whenever a file is saved.

A mistake in a file is reported, and the file's last valid content stays in use.  A file that the folder does not hold
is taken from the folder that ships with the project.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from wmkml.config.yaml_text import parse_yaml
from wmkml.owner.stage.mapping import MappingFile, TextsFile

POLL_SECONDS = 0.25
"""Seconds between two checks of the files.  A changed file is read once two checks in a row find it the same: an editor
may take several writes to save it."""

FILE_MODELS: dict[str, type[BaseModel]] = {"mapping": MappingFile, "texts": TextsFile}
"""The model of each `<name>.yaml`."""

FONT_TYPES = {".woff2": "font/woff2", ".woff": "font/woff", ".ttf": "font/ttf", ".otf": "font/otf"}
"""The media type of each font file suffix."""

FONT_SIGNATURES = (b"wOF2", b"wOFF", b"OTTO", b"\0\1\0\0", b"true")
"""The first four bytes of the font files that browsers accept."""

Signature = tuple[tuple[str, int, int], ...]
"""Path, modification time in nanoseconds, and size in bytes of each file."""


class StageFileError(ValueError):
    """A file of the folder is invalid.  `problems` holds a sentence for each mistake, with its line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class StageFolder:
    """The mapping, texts and fonts that were last read without a mistake."""

    def __init__(self, folder: Path, shipped: Path) -> None:
        """Read the folder.

        Args:
            folder: the installation's own; it may not exist.
            shipped: the project's folder, complete and valid.
        """
        self._folder, self._shipped = folder, shipped
        self._contents = {name: _read_file(shipped / f"{name}.yaml", model) for name, model in FILE_MODELS.items()}
        self._fonts: dict[str, Path] = {}
        self.version = 0
        """Counts the reloads."""
        self.problems: list[str] = []
        """One sentence for each mistake in the files as they are now."""
        self._last_signature = self._signature()
        self._loaded_signature: Signature | None = self._last_signature
        """Of the files as they were read; None: they changed while they were."""
        self._load()

    def runtime_state(self) -> dict[str, Any]:
        """The folder's content as the page receives it."""
        return {
            "version": self.version,
            "problems": self.problems,
            "mapping": self._contents["mapping"],
            "texts": self._contents["texts"],
            "fonts": list(self._fonts),
        }

    def font(self, name: str) -> Path | None:
        """The path of one of the fonts that `runtime_state` lists; none if it lists no such font."""
        return self._fonts.get(name)

    def recording(self, name: str) -> Path | None:
        """The path of the recorded run of this name, `recordings/<name>.jsonl.gz`; none if there is no such recording."""
        path = self._path_of(f"recordings/{Path(name).name}.jsonl.gz")
        return path if os.path.isfile(path) else None  # noqa: PTH113 - as in `_path_of`

    def reload_if_saved(self) -> bool:
        """Read the folder again if a file was saved and has not changed since the last call; whether it was read."""
        previous, self._last_signature = self._last_signature, self._signature()
        if self._last_signature != previous or self._last_signature == self._loaded_signature:
            return False
        self._load()
        # What was saved while it was read may have been read in part: then it is read once more, even if it goes back to what it was.
        unchanged = self._signature() == self._last_signature
        self._loaded_signature = self._last_signature if unchanged else None
        self.version += 1
        return True

    async def watch(self, on_change: Callable[[int, list[str]], None]) -> None:
        """Check the folder until cancelled.

        Args:
            on_change: called with version and problems after every reload, and at once if there are problems already.
        """
        if self.problems:
            on_change(self.version, self.problems)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if await asyncio.to_thread(self.reload_if_saved):
                on_change(self.version, self.problems)

    def _load(self) -> None:
        problems: list[str] = []
        for name, model in FILE_MODELS.items():
            path = self._path_of(f"{name}.yaml")
            try:
                self._contents[name] = _read_file(path, model)
            except StageFileError as error:
                problems += [f"{path.name}, {problem}" for problem in error.problems]
            except OSError as error:
                problems.append(f"{path.name}: cannot be read ({error.strerror}).")
        self._fonts = {}
        for path in self._font_files():
            if _is_font(path):
                self._fonts[path.name] = path
            else:
                problems.append(f"fonts/{path.name}: is not a font that browsers know ({', '.join(FONT_TYPES)}).")
        self.problems = [f"Stage: {problem}" for problem in problems]

    def _path_of(self, name: str) -> Path:
        own = self._folder / name
        # `Path.is_file` raises where a name is longer than a file's can be.
        return own if os.path.isfile(own) else self._shipped / name  # noqa: PTH113

    def _font_files(self) -> list[Path]:
        fonts = self._folder / "fonts"
        return sorted(path for path in fonts.glob("*") if path.suffix.lower() in FONT_TYPES and path.is_file())

    def _signature(self) -> Signature:
        signature = []
        for path in [self._path_of(f"{name}.yaml") for name in FILE_MODELS] + self._font_files():
            try:
                status = path.stat()
            except OSError:
                continue  # deleted since it was listed
            signature.append((str(path), status.st_mtime_ns, status.st_size))
        return tuple(signature)


def _read_file(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    """The content of a file, validated, and completed with the model's defaults.

    Raises:
        StageFileError: it is not YAML in UTF-8, or does not fit the model; the first five mistakes are named.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_yaml(text)
    except UnicodeDecodeError:
        raise StageFileError(["line 1: is not text in UTF-8."]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise StageFileError([f"line {mark.line + 1 if mark else 1}: {error.problem or 'is not YAML'}."]) from None
    except yaml.YAMLError:
        raise StageFileError(["line 1: holds a character that YAML does not allow."]) from None
    try:
        return model.model_validate(content).model_dump(mode="json")
    except ValidationError as error:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        mistakes = [_problem_text(tree, mistake["loc"], mistake["msg"]) for mistake in error.errors()[:5]]
        raise StageFileError(mistakes) from None


def _problem_text(tree: yaml.Node | None, location: Sequence[int | str], message: str) -> str:
    """A sentence about pydantic's error at this location: line, path (list items counted from 1), message."""
    path = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    sentence = message.removeprefix("Value error, ").rstrip(".")
    return f"line {_line_of(tree, location)}: {path + ': ' if path else ''}{sentence}."


def _line_of(node: yaml.Node | None, location: Sequence[int | str]) -> int:
    """The line, counted from 1, of the innermost node on the path to this location that the file holds."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            item = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if item is None:
                return line
            line, node = item[0].start_mark.line + 1, item[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _is_font(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in FONT_SIGNATURES
    except OSError:
        return False
