"""The warm process, from which others are forked: `python -m tests.warm_forks SOCKET MODULE…`.

Who has it fork is `tests/warm_processes.py`.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tests.warm_processes import MOST_FILES, Request, received


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
            size, files, _, _ = socket.recv_fds(self._connection, 8, MOST_FILES)
            if not size:
                return False
            request: Request = json.loads(received(self._connection, int.from_bytes(size, "big")))
        except (EOFError, ConnectionError):
            return False
        status = [] if request["own_child"] else [files.pop(0)]
        ready, ready_in_child = os.pipe()
        if (pid := os.fork()) == 0:
            if request["own_child"]:
                self._leave_a_child(ready_in_child)
            for file in (ready, *status, *self._running, *(status_file for _, status_file in self._running.values())):
                os.close(file)
            self._connection.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _run(request, files, ready_in_child)
        for file in (*files, ready_in_child):
            os.close(file)
        if request["own_child"]:
            child = int.from_bytes(os.read(ready, 8), "big")
            os.waitpid(pid, 0)  # from here on whoever asked is the child's parent
            pid = child
        os.read(ready, 1)  # until it has its session and its streams
        os.close(ready)
        if status:
            self._running[os.pidfd_open(pid)] = pid, status[0]
        self._connection.sendall(pid.to_bytes(8, "big"))
        return True

    def _leave_a_child(self, ready: int) -> None:
        """Fork, say the new one's number, and end: the new one is then its caller's."""
        this = os.getpid()
        if child := os.fork():
            os.write(ready, child.to_bytes(8, "big"))
            os._exit(0)
        while os.getppid() == this:
            time.sleep(0.001)

    def _tell_end(self, file: int) -> None:
        pid, status_file = self._running.pop(file)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(BrokenPipeError):
            os.write(status_file, array.array("i", [status]).tobytes())
        os.close(status_file)
        os.close(file)


def _run(request: Request, files: list[int], ready: int) -> NoReturn:
    """Be the process that was asked for, to its end."""
    if request["session"]:
        os.setsid()
    numbers = [1, 2, *request["numbers"]]
    # First out of the way of one another.
    *above, ready_above = [fcntl.fcntl(file, fcntl.F_DUPFD, max(numbers) + 1) for file in (*files, ready)]
    for file in (*files, ready):
        os.close(file)
    for file, number in zip(above, numbers, strict=True):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    tempfile.tempdir = None  # chosen by the environment
    for file in (*above, ready_above):
        os.close(file)
    script, *arguments = request["command"]
    run: Callable[[], object]
    if script == "-m":
        script, *arguments = arguments
        run = functools.partial(runpy.run_module, script, run_name="__main__", alter_sys=True)
    elif script == "-c":
        program, *arguments = arguments
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        run = functools.partial(_execute, program, vars(main))
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


def _execute(program: str, names: dict[str, object]) -> None:
    exec(program, names)


if __name__ == "__main__":
    _Forking(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]).serve()
