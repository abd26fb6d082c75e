"""A program that ends quickly does what is to be done at the end, and says the same; only its modules are not taken apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.config.paths import PROJECT

pytestmark = pytest.mark.process

ENDING = (
    "from wmkml.system.memory import QuickEnd; ending = QuickEnd(); import atexit, sys, tempfile, threading, time\n"
)

TAKEN_APART = "class Taken:\n    def __del__(self): print('taken apart')\ntaken = Taken(); taken.itself = taken\n"


def program(lines: str, output: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run it; `output` is where its output goes."""
    command = [sys.executable, "-c", ENDING + lines]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command, cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60
    )


def test_threads_files_and_output_are_seen_to_and_nothing_is_taken_apart(tmp_path: Path) -> None:
    done = program(
        f"""{TAKEN_APART}
temporary = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})
atexit.register(print, "the last", end="")
threading.Thread(target=lambda: (time.sleep(0.3), print("a thread"))).start()
ending.leave(3)
"""
    )
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (3, "a thread\nthe last", [])
    assert done.stderr == ""


def test_an_exception_ends_a_program_as_ever() -> None:
    done = program(TAKEN_APART + "raise RuntimeError('why')\n")
    assert (done.returncode, done.stdout) == (1, "taken apart\n")
    assert done.stderr.endswith("RuntimeError: why\n")


def test_output_that_nobody_reads_is_told_as_ever() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = program("print('lost', end=''); ending.leave(0)\n", full.fileno())
    assert done.returncode == 120 and "No space left" in done.stderr
