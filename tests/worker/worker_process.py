"""`finetune_worker.py` as a process of its own, with a tiny LoRA and a folder of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.warm_processes import MODEL, WarmPopen, start_within

ROOT = Path(__file__).parent.parent.parent


@dataclass
class WorkerProcess:
    """A worker's process; `before` is the length of its log when the current test began, in bytes."""

    process: subprocess.Popen[bytes] | WarmPopen
    log: Path
    data: Path
    before: int = 0

    def log_text(self) -> str:
        """Its log since the current test began."""
        return self.log.read_bytes()[self.before :].decode()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def started_worker(
    folder: Path,
    model: Path,
    *,
    key: str,
    general: Mapping[str, Any] | None = None,
    finetuning: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    inside: Sequence[str] = (),
) -> Iterator[WorkerProcess]:
    """A worker with rank 4 and no dropout, which is killed at the end.

    Args:
        folder: its config, log and data; may hold those of an earlier worker.
        general, finetuning: settings of its config file.
        arguments: more arguments of the script.
        inside: the beginning of a command that runs the rest of it in the same process.
    """
    tiny = {"lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "precision": "float32"}
    config = {
        "general": {"data_folder": "data", "logging": "DEBUG", **(general or {})},
        "finetuning": tiny | dict(finetuning or {}),
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = ["finetune_worker.py", "--config", str(folder / "config.yaml"), "--model", str(model), *arguments]
    environment = {**os.environ, "WMKML_WORKER_KEY": key}
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = start_within(inside, command, MODEL, output=output, env=environment)
    worker = WorkerProcess(process, log, folder / "data")
    try:
        yield worker
    finally:
        worker.kill()


def wait_for(condition: Callable[[], object], worker: WorkerProcess, seconds: float = 120) -> None:
    """Wait until the condition is true; fails with the worker's log when it ends or after this many seconds."""

    def holds() -> bool:
        try:
            return bool(condition())
        except httpx.TransportError:  # the owner closed a connection that was idle by its clock
            return False

    end = time.monotonic() + seconds
    while not holds():
        assert worker.process.poll() is None, worker.log_text()
        assert time.monotonic() < end, worker.log_text()
        time.sleep(0.05)
