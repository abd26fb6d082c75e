"""Our Python files as syntax trees, each parsed and walked once in a process: doing it again for every test takes half a minute."""

from __future__ import annotations

import ast
import functools
import gc
from pathlib import Path

from wmkml.config.paths import PROJECT
from wmkml.system.memory import no_garbage_collection


def python_files(*folders: str) -> list[Path]:
    """Every Python file in these folders of the repository."""
    return [path for folder in folders for path in sorted((PROJECT / folder).rglob("*.py"))]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Every part of a file."""
    # There are a million parts, and all stay: to look for garbage among them takes twice as long as to read them.
    with no_garbage_collection():
        parts = list(ast.walk(tree(path)))
        gc.freeze()
    return parts
