"""Services as processes of their own that need not import everything anew: forked from one that has, the warm one.

A service imports for a second, with torch and transformers for eight, of processor time, and the tests start hundreds of them.
What is forked is a process like any other: it has a number, an environment, a session, output and an exit status of its own, runs
the module or script from its first line as `__main__`, and can be killed.  That the doors start from nothing, and what they
import then, is for other tests, which start them as a shell does: the owner's start, the launcher's, the package's.

The warm process itself is `tests/warm_forks.py`.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import functools
import json
import multiprocessing.util
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypedDict
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent

OWNER = ("wmkml.owner.main", "pydantic.v1")
"""What an owner imports, and a stand-in of its inference; no torch."""

MODEL = (
    "torch",
    "transformers",
    "peft",
    "transformers.models.mistral.modeling_mistral",
    "wmkml.worker.main",
    "wmkml.inference.main",
    "wmkml.engine.transformers_engine",
)
"""What a worker, and inference with the transformers engine, import."""

VLLM = (
    *MODEL,
    "vllm.engine.arg_utils",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.lora.worker_manager",
    "vllm.model_executor.models.mistral",
    "wmkml.engine.cpu_lora",
)
"""What inference with vLLM, and vLLM's core, import besides."""

BEFORE_IMPORT = {
    # A process with threads must not fork, and numpy starts some when it is imported.
    "OPENBLAS_NUM_THREADS": "1",
    # As in `wmkml.engine.vllm_engine.vllm_environment`.
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
"""The variables that are read while these are imported."""

MOST_FILES = 64
"""That can be handed to one process."""

_STATUS_BYTES = array.array("i").itemsize


class Request(TypedDict):
    """What is to be forked: as the arguments of `WarmPopen`."""

    command: list[str]
    folder: str
    environment: dict[str, str]
    session: bool
    own_child: bool
    """Whether the process that asks is to be its parent, and not the warm one."""
    numbers: list[int]
    """What the files that come after its streams are called in it."""


class WarmPopen:
    """A process forked from the warm one; used as `subprocess.Popen` is, of which it has what the tests use.

    Args:
        command: a Python script, or `-m` and a module, with arguments.
        modules: `OWNER` or `MODEL`, what is imported already.
        output: where both its output and its errors go; None: where this process's go.
        errors: where its errors go, if not there.
    """

    def __init__(
        self,
        command: Sequence[str],
        modules: tuple[str, ...],
        *,
        output: IO[bytes] | None = None,
        errors: IO[bytes] | None = None,
        cwd: Path = ROOT,
        env: dict[str, str] | None = None,
        start_new_session: bool = False,
    ) -> None:
        self.args = list(command)
        # As `subprocess.Popen` does: tests without the mark `process` may start none (tests/conftest.py).
        sys.audit("subprocess.Popen", self.args[0], self.args, str(cwd), env)
        self.returncode: int | None = None
        self._lock = threading.Lock()
        status, status_in_warm = os.pipe()
        request = Request(
            command=self.args,
            folder=str(cwd),
            environment=dict(env or os.environ),
            session=start_new_session,
            own_child=False,
            numbers=[],
        )
        streams = [1, 2] if output is None else [output.fileno(), (errors or output).fileno()]
        try:
            with _starting:
                self.pid = _warm_process(modules).fork(request, [status_in_warm, *streams])
        finally:
            os.close(status_in_warm)
        self._status = os.fdopen(status, "rb", buffering=0)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit status.

        Raises:
            subprocess.TimeoutExpired: it has not ended after so many seconds.
        """
        status = self._wait(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            with self._lock:
                if self.returncode is None:
                    status = self._status.read(_STATUS_BYTES)
                    assert status, "the warm process has ended"
                    [self.returncode] = array.array("i", status)
        return self.returncode


@contextlib.contextmanager
def warm_children(modules: tuple[str, ...]) -> Iterator[None]:
    """Whatever `multiprocessing` spawns meanwhile is forked from the warm process; all else, and who its parent is, stays."""
    anew = multiprocessing.util.spawnv_passfds

    def start(path: bytes, arguments: Sequence[Any], files: Sequence[int]) -> int:
        # The other is the process that keeps account of shared memory.
        if "multiprocessing.spawn" not in arguments[-2]:
            return int(anew(path, arguments, files))
        sys.audit("subprocess.Popen", path, arguments, None, None)
        files = sorted(set(files))
        request = Request(
            command=list(arguments[-3:]),
            folder=os.getcwd(),  # noqa: PTH109 - a child's, as it is
            environment=dict(os.environ),
            session=False,
            own_child=True,
            numbers=files,
        )
        with _starting:
            return _warm_process(modules).fork(request, [1, 2, *files])

    with mock.patch.object(multiprocessing.util, "spawnv_passfds", start):
        yield


def start_within(
    within: Sequence[str],
    command: Sequence[str],
    modules: tuple[str, ...],
    *,
    output: IO[bytes],
    env: dict[str, str] | None = None,
    start_new_session: bool = False,
) -> subprocess.Popen[bytes] | WarmPopen:
    """A process that another program starts, as one that enters a network namespace, and so anew; forked where there is none.

    Args:
        within: that program with its arguments; empty: none.
    """
    if not within:
        return WarmPopen(command, modules, output=output, env=env, start_new_session=start_new_session)
    return subprocess.Popen(
        [*within, sys.executable, *command],
        stdout=output,
        stderr=output,
        cwd=ROOT,
        env=env,
        start_new_session=start_new_session,
    )


class _WarmProcess:
    """The warm process as whoever has it fork sees it; it ends with this process."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._socket, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_forks", str(there.fileno()), *modules],
                cwd=ROOT,
                pass_fds=[there.fileno()],
                env=os.environ | BEFORE_IMPORT,
            )

    def fork(self, request: Request, files: list[int]) -> int:
        """Start a process; returns its number."""
        message = json.dumps(request).encode()
        # The kernel gives orphans to the nearest of their ancestors that takes them in.
        _take_in_orphans(request["own_child"])
        try:
            socket.send_fds(self._socket, [len(message).to_bytes(8, "big")], files)
            self._socket.sendall(message)
            return int.from_bytes(received(self._socket, 8), "big")
        finally:
            _take_in_orphans(False)


_starting = threading.Lock()


@functools.cache
def _warm_process(modules: tuple[str, ...]) -> _WarmProcess:
    return _WarmProcess(modules)


def _take_in_orphans(whether: bool) -> None:
    """Whether this process becomes the parent of descendants whose own parent ends (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(36, int(whether), 0, 0, 0)


def received(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = connection.recv(size - len(content))
        if not piece:
            raise EOFError("the other process has ended")
        content += piece
    return content
