"""`python -m wmkml`: what it does where its output is cut off, and where a library is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.__main__ import main
from wmkml.config.paths import PROJECT

pytestmark = pytest.mark.process

WITHOUT_HTTPX = """
# A stand-in for an environment in which the cluster's libraries are not installed.
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "httpx":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_an_output_that_nobody_reads_to_its_end_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "wmkml", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 141)  # it may have written all before the reader left


def test_a_command_whose_library_is_missing_names_the_extra_that_brings_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_HTTPX, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    done = subprocess.run(
        [sys.executable, "-m", "wmkml", "plan"],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "plan needs httpx" in done.stderr and "wmkml[cluster]" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_word_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "examine" in capsys.readouterr().out
