"""The rooms and their walls: imports point one way, and the owner starts without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "wmkml"
SERVICES = {"owner", "inference", "worker"}
ABOVE = SERVICES | {"cli", "cluster", "rehearsal", "gui"}
"""What no library may import."""

HEAVY = {"torch", "vllm", "transformers", "peft"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_imported(path: Path) -> set[str]:
    return {module.split(".")[1] for module in imports(path) if module.startswith("wmkml.")}


FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE or path.stem not in ("__main__", "__init__")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    mine, theirs = room(path), rooms_imported(path)
    if mine in SERVICES:
        assert not theirs & (ABOVE - {mine}), "services meet on the wire only"
    elif mine not in ABOVE:
        assert not theirs & ABOVE, "a library knows no service and no command"


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "owner"], ids=lambda path: path.name)
def test_the_owner_names_no_heavy_library(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports(path)} & HEAVY


def test_the_owner_imports_no_torch_by_any_way() -> None:
    program = (
        "import sys, wmkml.owner.main; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'vllm', 'transformers', 'peft'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
