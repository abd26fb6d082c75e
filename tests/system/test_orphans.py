"""Marked processes are ended even in a session of their own, ignoring SIGTERM, or without their parent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from wmkml.system.orphans import Mark, end_marked_processes, marked_processes, service_mark

pytestmark = pytest.mark.process

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"

Starter = Callable[[Mark], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Starter]:
    processes: list[subprocess.Popen[bytes]] = []

    def start_deaf(mark: Mark) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", DEAF],
            env=os.environ | {mark.variable: mark.value},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        return process

    yield start_deaf
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("grace_seconds", [0.0, 0.2])
def test_only_what_carries_the_mark_is_ended(start: Starter, tmp_path: Path, grace_seconds: float) -> None:
    mark = service_mark("inference", tmp_path)
    marked, other = start(mark), start(service_mark("inference", tmp_path / "other"))
    assert [process.pid for process in marked_processes(mark)] == [marked.pid]
    assert len(end_marked_processes(mark, grace_seconds)) == 1
    assert not psutil.pid_exists(marked.pid)
    assert other.poll() is None
    assert end_marked_processes(mark, grace_seconds) == []


def test_this_process_and_its_ancestors_are_spared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mark = service_mark("inference", tmp_path)
    program = (
        "from pathlib import Path; from wmkml.system.orphans import *\n"
        f"print(end_marked_processes(service_mark('inference', Path({str(tmp_path)!r}))))"
    )
    monkeypatch.setenv(mark.variable, mark.value)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
