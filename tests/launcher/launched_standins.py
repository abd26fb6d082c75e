"""The launcher as a process of its own, with stand-ins for its services (`standin_cluster.py`), in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from wmkml.launcher.cluster_record import read_record
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.system.orphans import end_marked_processes, marked_processes
from wmkml.system.ports import free_port

ROOT = Path(__file__).parent.parent.parent

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, seconds: float = 60.0) -> T:
    """Call `look` every 0.1 s until it returns a value; fails and names `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (value := look()) is not None:
            return value
        time.sleep(0.1)
    pytest.fail(f"{what} did not happen within {seconds:.0f} s")


class StandinCluster:
    """A data folder, a config and a launcher with stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.port = folder, folder / "data", free_port()
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"general: {{model_name: understudy, owner_port: {self.port}, inference_port: {free_port()}, "
            f"owner_host: 127.0.0.1, datasets_folder: {ROOT / 'Datasets'}}}\n"
        )
        self.output = folder / "launcher.txt"
        self.launcher: subprocess.Popen[bytes] | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            self.launcher = subprocess.Popen(
                [sys.executable, "-m", "tests.launcher.standin_cluster", "launch", str(self.config)],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self.launcher

    def healthy(self) -> None:
        def look() -> bool | None:
            assert self.launcher is not None
            assert self.launcher.poll() is None, self.output.read_text()
            record = read_record(self.data)
            return True if record and record.phase == "healthy" else None

        until(look, "a healthy cluster")

    def owner_pid(self) -> int | None:
        try:
            return int(httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2, verify=False).json()["pid"])
        except httpx.TransportError:
            return None

    def processes(self) -> list[psutil.Process]:
        return marked_processes(cluster_mark(self.data))

    def engine(self) -> dict[str, int]:
        engine: dict[str, int] = json.loads((self.folder / "engine.json").read_text())
        return engine


@contextmanager
def standin_cluster(folder: Path) -> Iterator[StandinCluster]:
    """A cluster that is not launched yet, and of which nothing is left at the end."""
    cluster = StandinCluster(folder)
    try:
        yield cluster
    finally:
        if cluster.launcher is not None and cluster.launcher.poll() is None:
            cluster.launcher.kill()
            cluster.launcher.wait()
        end_marked_processes(cluster_mark(cluster.data))
