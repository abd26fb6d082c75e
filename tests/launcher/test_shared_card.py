"""The real launcher and services on a GPU that is pretended: on a shared card the engine is first, then the worker loads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.launcher.launched_standins import until
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.system.orphans import end_marked_processes
from wmkml.system.ports import free_port

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent.parent

START_SECONDS = 570.0
"""Seconds for a start: half a minute on an idle machine, minutes on a busy one."""


def time_of(log: Path, text: str) -> str:
    """When a line with this text was written, as the log has it: comparable, and the same clock for all services."""
    [line, *_] = [line for line in log.read_text(encoding="utf-8").splitlines() if text in line]
    return line[:23]


@pytest.mark.timeout(START_SECONDS + 120)
def test_the_worker_loads_when_the_engine_is_ready(tmp_path: Path) -> None:
    owner, data = free_port(), tmp_path / "data"
    (tmp_path / "config.yaml").write_text(
        f"general: {{owner_port: {owner}, inference_port: {free_port()}, owner_host: 127.0.0.1, "
        f"datasets_folder: {ROOT / 'Datasets'}}}\n"
    )
    words = ["--config", str(tmp_path / "config.yaml"), "--model", "understudy", "--engine", "transformers"]
    with (tmp_path / "output").open("wb") as output:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "wmkml.launcher", *words],
            cwd=ROOT,
            env=os.environ | {"WMKML_GPUS": "1x80"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def worker_state() -> str | None:
        assert launcher.poll() is None, (tmp_path / "output").read_text()
        try:
            state = httpx.get(f"http://127.0.0.1:{owner}/state", timeout=5, verify=False).json()["worker"]
        except httpx.TransportError:
            return None
        return None if state == "away" else str(state)

    try:
        assert until(worker_state, "a worker that claims rounds", START_SECONDS) == "ready"
        worker, inference = data / "logs" / "worker.log", data / "logs" / "inference.log"
        assert time_of(worker, "Waiting for the engine") < time_of(worker, "Loaded ")
        assert time_of(inference, "Ready: ") <= time_of(worker, "The engine is ready") < time_of(worker, "Loaded ")
    finally:
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(60)
        end_marked_processes(cluster_mark(data))
