"""Starting supervisord, and its client `Supervisor`."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import xmlrpc.client
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from supervisor.xmlrpc import SupervisorTransport

from wmkml.config.paths import PROJECT
from wmkml.launcher.supervision.configuration import SupervisorFiles
from wmkml.system.orphans import Mark

CLUSTER_VARIABLE = "WMKML_CLUSTER"
"""The environment variable that marks every process of a cluster; its value is the data folder."""


def cluster_mark(data: Path) -> Mark:
    """The mark of every process of the cluster on this data folder, the launcher excepted."""
    return Mark(CLUSTER_VARIABLE, str(data))


def start_supervisord(files: SupervisorFiles, mark: Mark, root: Path) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own, so that a Ctrl-C in the terminal reaches the launcher alone."""
    environment = {**os.environ, mark.variable: mark.value, "PYTHONPATH": _python_path()}
    with _error_log(files.logs / "supervisord.err") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "wmkml.launcher.supervision.daemon", str(files.configuration), str(os.getpid())],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
            # The services' files hold visitors' words: no other user of this machine may read them.
            umask=0o077,
        )


def _error_log(path: Path) -> IO[bytes]:
    try:
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")  # on a disk that takes no new file supervisord starts all the same


def _python_path() -> str:
    # The package is not installed: the programs must find the project whatever their working folder is.
    others = os.environ.get("PYTHONPATH", "")
    return f"{PROJECT}{os.pathsep}{others}" if others else str(PROJECT)


class SupervisordUnavailableError(RuntimeError):
    """supervisord is not there, is ending, or could not do what it was asked."""


class Supervisor:
    """Client of a running supervisord, over its Unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def _call(self, method: str, *arguments: Any) -> Any:
        # A connection for each call: supervisor's transport keeps one, and cannot be used any more once it has failed.
        transport = SupervisorTransport("", "", f"unix://{self._socket}")
        server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(server.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisordUnavailableError(f"supervisord at {self._socket}: {method}: {error}") from error
        finally:
            transport.close()

    def answers(self) -> bool:
        """Whether supervisord answers."""
        try:
            self._call("getState")
        except SupervisordUnavailableError:
            return False
        return True

    def program_states(self) -> list[dict[str, Any]]:
        """Each program as supervisord describes it: `name`, `statename`, `pid`, `start` (seconds since 1970), …

        Raises:
            SupervisordUnavailableError: it is gone, or ending.
        """
        states: list[dict[str, Any]] = self._call("getAllProcessInfo")
        return states

    def start(self, name: str) -> None:
        """Start a program and return at once; one that already runs is left alone.

        Raises:
            SupervisordUnavailableError: supervisord is gone, or the program cannot be started.
        """
        running = {
            state["name"] for state in self.program_states() if state["statename"] in ("STARTING", "RUNNING", "BACKOFF")
        }
        if name not in running:
            self._call("startProcess", name, False)

    def replace(self, names: Sequence[str]) -> None:
        """End these programs, read the configuration again, and start them as it says now, in this order.

        Raises:
            SupervisordUnavailableError: supervisord is gone, or a program cannot be started.
        """
        self._call("reloadConfig")
        for name in reversed(names):
            if self._state(name) in ("STARTING", "RUNNING", "BACKOFF"):
                self._call("stopProcess", name)
            self._call("removeProcessGroup", name)
        for name in names:
            self._call("addProcessGroup", name)
            self.start(name)

    def _state(self, name: str) -> str:
        return next((str(state["statename"]) for state in self.program_states() if state["name"] == name), "")

    def kill(self, name: str) -> None:
        """Kill a program that does not end by itself; supervisord starts it again.

        Raises:
            SupervisordUnavailableError: supervisord is gone, or the program does not run.
        """
        self._call("signalProcess", name, "KILL")
