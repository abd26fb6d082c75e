"""The artist's folder of the stage: read, watched, and said to the page; a mistake keeps the last good one.

What the folder does not hold comes from the one that ships with the project.  Knows no route and no event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from wmkml.owner.stage_mapping import Mapping, Texts

LOOK_SECONDS = 0.25
"""How often the files' times are looked at; a file counts as saved when it is the same twice."""

FILES: dict[str, type[BaseModel]] = {"mapping": Mapping, "texts": Texts}

FONT_TYPES = {".woff2": "font/woff2", ".woff": "font/woff", ".ttf": "font/ttf", ".otf": "font/otf"}
FONT_STARTS = (b"wOF2", b"wOFF", b"OTTO", b"\0\1\0\0", b"true")
"""The first four bytes of what browsers take for a font."""

Signature = tuple[tuple[str, int, int], ...]


class StageFolder:
    """Mapping, texts and fonts as they were last understood."""

    def __init__(self, folder: Path, shipped: Path) -> None:
        """Read what is there.

        Args:
            folder: the installation's own; it may not exist.
            shipped: complete and right, as it comes with the project.
        """
        self._folder, self._shipped = folder, shipped
        self._good = {name: _read(shipped / f"{name}.yaml", model) for name, model in FILES.items()}
        self._fonts: dict[str, Path] = {}
        self.version = 0
        self.problems: list[str] = []
        self._read_signature = self._seen = self._signature()
        self._read()

    def said(self) -> dict[str, Any]:
        """What the page needs to know."""
        return {
            "version": self.version,
            "problems": self.problems,
            "mapping": self._good["mapping"],
            "texts": self._good["texts"],
            "fonts": list(self._fonts),
        }

    def font(self, name: str) -> Path | None:
        """The file of a font that was said."""
        return self._fonts.get(name)

    def look(self) -> bool:
        """Look whether something was saved, and read it; whether there is something new to say."""
        before, self._seen = self._seen, self._signature()
        if self._seen != before or self._seen == self._read_signature:
            return False
        self._read_signature = self._seen
        self._read()
        self.version += 1
        return True

    async def watch(self, tell: Callable[[int, list[str]], None]) -> None:
        """Look for ever; `tell` hears the version and the problems after every save."""
        if self.problems:
            tell(self.version, self.problems)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if await asyncio.to_thread(self.look):
                tell(self.version, self.problems)

    def _read(self) -> None:
        problems: list[str] = []
        for name, model in FILES.items():
            path = self._place(f"{name}.yaml")
            try:
                self._good[name] = _read(path, model)
            except NotUnderstood as error:
                problems += [f"{path.name}, {told}" for told in error.told]
            except OSError as error:
                problems.append(f"{path.name}: cannot be read ({error.strerror}).")
        self._fonts = {}
        for path in self._font_files():
            if _is_font(path):
                self._fonts[path.name] = path
            else:
                problems.append(f"fonts/{path.name}: is not a font that browsers know ({', '.join(FONT_TYPES)}).")
        self.problems = [f"Stage: {problem}" for problem in problems]

    def _place(self, name: str) -> Path:
        own = self._folder / name
        return own if own.is_file() else self._shipped / name

    def _font_files(self) -> list[Path]:
        fonts = self._folder / "fonts"
        return sorted(path for path in fonts.glob("*") if path.suffix.lower() in FONT_TYPES and path.is_file())

    def _signature(self) -> Signature:
        found = []
        for path in [self._place(f"{name}.yaml") for name in FILES] + self._font_files():
            try:
                status = path.stat()
            except OSError:
                continue  # gone between the listing and now; the next look sees it
            found.append((str(path), status.st_mtime_ns, status.st_size))
        return tuple(found)


class NotUnderstood(ValueError):
    """A file is not what it should be: `told` says each mistake with its line."""

    def __init__(self, told: Sequence[str]) -> None:
        super().__init__("; ".join(told))
        self.told = list(told)


def _read(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    """The content of a file, checked and with defaults.

    Raises:
        NotUnderstood: it is not YAML in UTF-8, or not this model.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise NotUnderstood(["line 1: is not text in UTF-8."]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotUnderstood([f"line {mark.line + 1 if mark else 1}: {error.problem or 'is not YAML'}."]) from None
    except yaml.YAMLError:
        raise NotUnderstood(["line 1: holds a character that YAML does not allow."]) from None
    try:
        return model.model_validate(content).model_dump(mode="json")
    except ValidationError as error:
        raise NotUnderstood([_told(tree, one["loc"], one["msg"]) for one in error.errors()[:5]]) from None


def _told(tree: yaml.Node | None, place: Sequence[int | str], what: str) -> str:
    """A mistake in an artist's words: the line, the path to it, and what is wrong."""
    path = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    sentence = what.removeprefix("Value error, ").rstrip(".")
    return f"line {_line(tree, place)}: {path + ': ' if path else ''}{sentence}."


def _line(node: yaml.Node | None, place: Sequence[int | str]) -> int:
    """The line of the innermost thing on this path that the file holds."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _is_font(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in FONT_STARTS
    except OSError:
        return False
