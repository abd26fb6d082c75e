"""Runs `tests/owner_stand_in.py` as a process of its own, which can be killed and come back on the same port."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent


def until(true: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until something holds; fails naming it when it never does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


class PlayedOwner:
    """The stand-in's process, and the handles that make its run go on."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._memory, self._options = folder / "memory.json", options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what it remembers, and wait until it answers."""
        command = [sys.executable, "-m", "tests.owner_stand_in", "--port", str(self.port)]
        self._process = subprocess.Popen([*command, "--memory", str(self._memory), *self._options], cwd=ROOT)
        until(self._answers, "the stand-in answers")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def get(self, path: str) -> Any:
        return httpx.get(self.address + path, trust_env=False).raise_for_status().json()

    def post(self, path: str, **body: Any) -> httpx.Response:
        """Post a body and read the reply to its end, a stream's too."""
        return httpx.post(self.address + path, json=body, trust_env=False, timeout=30).raise_for_status()

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "the stand-in ended"
        try:
            return bool(self.get("/healthz"))
        except httpx.TransportError:
            return False


@contextmanager
def played_owner(folder: Path, *options: str) -> Iterator[PlayedOwner]:
    """A started stand-in; killed at the end."""
    owner = PlayedOwner(folder, options)
    owner.start()
    try:
        yield owner
    finally:
        owner.kill()
