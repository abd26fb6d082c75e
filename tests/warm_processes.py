"""Services as processes of their own that need not import everything anew: forked from one that has, the warm one.

A service imports for a second, with torch and transformers for eight, of processor time, and the tests start hundreds of them.
What is forked is a process like any other: it has a number, an environment, a session, output and an exit status of its own, runs
the module or script from its first line as `__main__`, and can be killed.  That the doors start from nothing, and what they
import then, is for other tests, which start them as a shell does: the owner's start, the launcher's, the package's.

Run as a program, `python -m tests.warm_processes SOCKET MODULE…`, it is the warm process.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn, TypedDict

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

_STATUS_BYTES = array.array("i").itemsize


class _Request(TypedDict):
    """What is to be forked: as the arguments of `WarmPopen`."""

    command: list[str]
    folder: str
    environment: dict[str, str]
    session: bool


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
        request = _Request(
            command=self.args, folder=str(cwd), environment=dict(env or os.environ), session=start_new_session
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
                [sys.executable, "-m", "tests.warm_processes", str(there.fileno()), *modules],
                cwd=ROOT,
                pass_fds=[there.fileno()],
                # A process with threads must not fork, and numpy starts some when it is imported.
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )

    def fork(self, request: _Request, files: list[int]) -> int:
        """Start a process; returns its number."""
        message = json.dumps(request).encode()
        socket.send_fds(self._socket, [len(message).to_bytes(8, "big")], files)
        self._socket.sendall(message)
        return int.from_bytes(_received(self._socket, 8), "big")


_starting = threading.Lock()


@functools.cache
def _warm_process(modules: tuple[str, ...]) -> _WarmProcess:
    return _WarmProcess(modules)


def _received(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = connection.recv(size - len(content))
        if not piece:
            raise EOFError("the other process has ended")
        content += piece
    return content


# --- the warm process ------------------------------------------------------------------------------------------------


class _Forking:
    """Forks whenever asked to and tells each exit status, until whoever asks has ended."""

    def __init__(self, connection: socket.socket, modules: Sequence[str]) -> None:
        self._connection = connection
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those that it forks
        self._running: dict[int, tuple[int, int]] = {}
        """By the file that becomes readable when a process has ended: its number, and where its exit status goes."""
        for module in modules:
            importlib.import_module(module)
        assert len(os.listdir("/proc/self/task")) == 1, "a module started a thread when it was imported"  # noqa: PTH208
        gc.freeze()  # else collecting garbage would copy the pages that all share

    def serve(self) -> None:
        """Fork until the other end is closed."""
        asked = self._connection.fileno()
        while True:
            readable, _, _ = select.select([asked, *self._running], [], [])
            for file in readable:
                if file == asked:
                    if not self._answer():
                        return
                else:
                    self._tell_end(file)

    def _answer(self) -> bool:
        """Fork a process as asked for; returns whether it was."""
        try:
            size, files, _, _ = socket.recv_fds(self._connection, 8, 3)
            if not size:
                return False
            request: _Request = json.loads(_received(self._connection, int.from_bytes(size, "big")))
        except (EOFError, ConnectionError):
            return False
        status, output, errors = files
        ready, ready_in_child = os.pipe()
        if (pid := os.fork()) == 0:
            for file in (ready, status, *self._running, *(status_file for _, status_file in self._running.values())):
                os.close(file)
            self._connection.close()
            # Not as it was here: a shell that runs the tests in the background passes on an ignored SIGINT.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _run(request, output, errors, ready_in_child)
        for file in (output, errors, ready_in_child):
            os.close(file)
        os.read(ready, 1)  # until it has its session and its streams
        os.close(ready)
        self._running[os.pidfd_open(pid)] = pid, status
        self._connection.sendall(pid.to_bytes(8, "big"))
        return True

    def _tell_end(self, file: int) -> None:
        pid, status_file = self._running.pop(file)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(BrokenPipeError):
            os.write(status_file, array.array("i", [status]).tobytes())
        os.close(status_file)
        os.close(file)


def _run(request: _Request, output: int, errors: int, ready: int) -> NoReturn:
    """Be the process that was asked for, to its end."""
    if request["session"]:
        os.setsid()
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    tempfile.tempdir = None  # chosen by the environment
    for file in (output, errors, ready):
        os.close(file)
    script, *arguments = request["command"]
    if script == "-m":
        script, *arguments = arguments
        run = functools.partial(runpy.run_module, script, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(script).resolve().parent)
        run = functools.partial(runpy.run_path, script, run_name="__main__")
    sys.argv = [script, *arguments]
    status = 0
    try:
        run()
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does, whatever it is
        traceback.print_exc()
        status = 1
    # As the interpreter does at its end: wait for threads, and call what is to be called then.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _Forking(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]).serve()
