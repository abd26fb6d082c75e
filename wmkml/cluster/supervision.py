"""The supervisor's configuration, its start, and talking to it.

Restarts come from supervisor (the PyPI package): a program that dies is started again at once, one that dies within
three seconds waits a second longer each time.  After `RETRIES` of those supervisor would give up; the launcher then
starts it anew, so that the wait stays bounded and nobody ever gives up.
Knows programs as commands; knows no service, no settings.
"""

from __future__ import annotations

import http.client
import os
import shlex
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from supervisor.xmlrpc import SupervisorTransport

MARKER_VARIABLE = "WMKML_CLUSTER"
"""Every process of a cluster carries this environment variable; its value is the data folder."""

START_SECONDS = 3
RETRIES = 20
"""With a wait one second longer each time, a program that cannot start is tried at least three times a minute."""

LOG_BYTES = 10_000_000
LOG_FILES = 5

SOCKET_PATH_BYTES = 100
"""A little under what the kernels take for the path of a Unix socket (104 on macOS, 108 on Linux)."""


@dataclass(frozen=True)
class Program:
    """One supervised program: its command, what its environment has on top, and how it is restarted.

    `restart`: always, or `unexpected`: not when it ends with status 0, as a window does that somebody closed.
    `stop_seconds`: so long it may take to end before it is killed.
    `retries`: after so many supervisor gives up, and the launcher begins anew.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    restart: Literal["always", "unexpected"] = "always"
    stop_seconds: int = 10
    retries: int = RETRIES


@dataclass(frozen=True)
class Supervision:
    """Where a cluster's supervisor keeps its files."""

    folder: Path
    logs: Path
    socket: Path

    @property
    def configuration(self) -> Path:
        """supervisord's own config file."""
        return self.folder / "supervisord.conf"


def supervision_in(data: Path, logs: Path) -> Supervision:
    """The supervisor's folder in a data folder, made; its socket is in the temporary folder where the path is too long."""
    folder = data / "supervisor"
    for path in (folder, logs):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
    socket = folder / "supervisor.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_BYTES:
        socket = Path(tempfile.mkdtemp(prefix="wmkml-")) / "supervisor.sock"
    return Supervision(folder, logs, socket)


def write_configuration(place: Supervision, programs: Sequence[Program], root: Path, log_level: str = "info") -> None:
    """Write supervisord's config: every program with a rotated log file, none started before the launcher says so."""
    lines = [
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        "nocleanup=true",
        f"directory={_value(root)}",
        f"logfile={_value(place.logs / 'supervisord.log')}",
        f"logfile_maxbytes={LOG_BYTES}",
        f"logfile_backups={LOG_FILES}",
        f"loglevel={log_level}",
        f"pidfile={_value(place.folder / 'supervisord.pid')}",
        f"childlogdir={_value(place.folder)}",
        "",
        "[unix_http_server]",
        f"file={_value(place.socket)}",
        "chmod=0700",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for priority, program in enumerate(programs, start=1):
        lines += ["", *_section(place, program, priority, root)]
    place.configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
    place.configuration.chmod(0o600)


def _section(place: Supervision, program: Program, priority: int, root: Path) -> list[str]:
    door = [sys.executable, "-m", "wmkml.cluster.child", *program.command]
    pairs = ",".join(f'{key}="{_value(value)}"' for key, value in program.environment.items())
    return [
        f"[program:{program.name}]",
        f"command={_value(shlex.join(door))}",
        f"directory={_value(root)}",
        # The last to start is the first to be stopped.
        f"priority={priority}",
        "autostart=false",
        f"autorestart={'true' if program.restart == 'always' else 'unexpected'}",
        "exitcodes=0",
        f"startsecs={START_SECONDS}",
        f"startretries={program.retries}",
        "stopsignal=TERM",
        f"stopwaitsecs={program.stop_seconds}",
        "stopasgroup=true",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_value(place.logs / (program.name + '.log'))}",
        f"stdout_logfile_maxbytes={LOG_BYTES}",
        f"stdout_logfile_backups={LOG_FILES}",
        *([f"environment={pairs}"] if pairs else []),
    ]


def _value(value: object) -> str:
    # supervisord expands %(name)s, and reads ` ;` as the start of a comment.
    if not is_writable(value):
        raise ValueError(f"{value}: cannot stand in supervisor's configuration")
    return str(value).replace("%", "%%")


def is_writable(value: object) -> bool:
    """Whether a path or value can stand in supervisor's configuration, which has no way to quote these."""
    return not any(mark in str(value) for mark in (" ;", "\n", "\r", '"'))


def start_supervisor(place: Supervision, marker: str, root: Path) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own, so that a Ctrl-C in the terminal reaches the launcher alone."""
    environment = {**os.environ, MARKER_VARIABLE: marker, "PYTHONPATH": _python_path()}
    with (place.logs / "supervisord.err").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "wmkml.cluster.supervise", str(place.configuration), str(os.getpid())],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
            # What services write holds visitors' words: for nobody else on this machine.
            umask=0o077,
        )


def _python_path() -> str:
    # The package is not installed: wherever the config file is, its programs find the project this launcher came from.
    project = str(Path(__file__).resolve().parent.parent.parent)
    others = os.environ.get("PYTHONPATH", "")
    return f"{project}{os.pathsep}{others}" if others else project


class SupervisorAway(RuntimeError):
    """supervisord is not there, is going, or could not do what it was asked."""


class Supervisor:
    """A running supervisord, over its Unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def _ask(self, method: str, *values: Any) -> Any:
        # A connection each: supervisor's transport keeps one, and is of no use any more once that has failed.
        transport = SupervisorTransport("", "", f"unix://{self._socket}")
        server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(server.supervisor, method)(*values)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorAway(f"supervisord at {self._socket}: {method}: {error}") from error
        finally:
            transport.close()

    def answers(self) -> bool:
        """Whether it can be spoken to."""
        try:
            self._ask("getState")
        except SupervisorAway:
            return False
        return True

    def states(self) -> list[dict[str, Any]]:
        """Every program, as supervisor tells it: `name`, `statename`, `pid`, `start` (seconds since 1970), …

        Raises:
            SupervisorAway: it is gone, or going.
        """
        found: list[dict[str, Any]] = self._ask("getAllProcessInfo")
        return found

    def start(self, name: str) -> None:
        """Start one program and return at once; one that runs already is left alone.

        Raises:
            SupervisorAway: it is gone, or the program cannot be started.
        """
        running = {one["name"] for one in self.states() if one["statename"] in ("STARTING", "RUNNING", "BACKOFF")}
        if name not in running:
            self._ask("startProcess", name, False)
