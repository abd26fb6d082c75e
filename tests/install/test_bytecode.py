"""The modules of an environment are compiled when it is installed, so that no process compiles them at every start."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.install.bytecode import compile_modules
from wmkml.install.environment import python_of


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bytecode") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def library(env: Path, **files: str) -> Path:
    """A library of one folder in an environment."""
    folder = next(env.glob("lib/python3.*/site-packages")) / "library"
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.process
def test_a_process_that_may_not_write_finds_libraries_and_project_compiled(
    env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    folder = library(env, module="VALUE = 1\n", wrong="print 'of another Python'\n", tests__test_it="")
    project = tmp_path / "project"
    project.mkdir()
    (project / "own.py").write_text("VALUE = 2\n", encoding="utf-8")
    compile_modules(env, project)
    assert compiled(folder / "module.py") and compiled(project / "own.py")
    assert not compiled(folder / "tests" / "test_it.py")
    # Python itself takes them: with the source's text spoilt, and its time and size as they were, the old value is read.
    program = "import library.module as module; print(module.VALUE)"
    source = folder / "module.py"
    times = source.stat()
    source.write_text("VALUE = 3\n", encoding="utf-8")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = subprocess.run([python_of(env), "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def compiled(source: Path) -> bool:
    return Path(importlib.util.cache_from_source(str(source))).is_file()
