"""supervisord's configuration: what it runs, where its files are, and the config file that says so to it."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SHORTEST_LIFE_SECONDS = 3
"""A program that ends sooner counts as not started: supervisord then waits a second longer before each new try."""

RETRIES = 20
"""Tries before supervisord gives up and `Cluster` begins anew: the wait never exceeds 20 s, three tries a minute."""

SOCKET_PATH_BYTES = 95
"""Longest path of the Unix socket: kernels allow 103 on macOS and 107 on Linux, and supervisord at first adds its process's number."""


@dataclass(frozen=True)
class LogLimit:
    """How much is kept of a program's log.

    `file_bytes`: a log file that has reached this size is rotated; what supervisord reads of the program at once,
    128 KiB at most, is written before it looks.
    `rotated_files`: how many are kept beside the one that is written.
    """

    file_bytes: int
    rotated_files: int


LOG_LIMIT = LogLimit(file_bytes=10_000_000, rotated_files=5)
"""The logs' limit in an installation: 60 MB for each program."""


@dataclass(frozen=True)
class Program:
    """A supervised program.

    `environment`: added to supervisord's own.
    `restart`: always, or `unexpected`: not when it ends with status 0, as a window does that somebody closed.
    `stop_seconds`: between SIGTERM and SIGKILL.
    `start_seconds`: a program that ends sooner counts as not started.
    `retries`: after this many failed starts supervisord gives up, and the launcher begins anew.
    `expendable`: thousandths of the machine's memory by which it counts as larger when the kernel must kill a process.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    restart: Literal["always", "unexpected"] = "always"
    stop_seconds: int = 10
    start_seconds: int = SHORTEST_LIFE_SECONDS
    retries: int = RETRIES
    expendable: int = 0


@dataclass(frozen=True)
class SupervisorFiles:
    """Where supervisord keeps its files: its own folder, the programs' logs, and the socket that it answers on."""

    folder: Path
    logs: Path
    socket: Path

    @property
    def configuration(self) -> Path:
        """supervisord's config file."""
        return self.folder / "supervisord.conf"


def prepare_supervisor_files(data: Path, logs: Path) -> SupervisorFiles:
    """Make supervisord's folders.  The socket is in a temporary folder if its path in the data folder is too long.

    Raises:
        OSError: no temporary folder with a short path can be made.
    """
    folder = data / "supervisor"
    for path in (folder, logs):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
    socket = folder / "supervisor.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_BYTES:
        socket = Path(tempfile.mkdtemp(prefix="wmkml-", dir=_short_temporary_folder())) / socket.name
    return SupervisorFiles(folder, logs, socket)


def _short_temporary_folder() -> str:
    """Where temporary files are kept; /tmp, where TMPDIR's path is too long for a socket."""
    usual = tempfile.gettempdir()
    longest = Path(usual, "wmkml-12345678", "supervisor.sock")  # as mkdtemp makes it
    return usual if len(os.fsencode(longest)) <= SOCKET_PATH_BYTES else "/tmp"


def write_configuration(
    files: SupervisorFiles, programs: Sequence[Program], root: Path, log_limit: LogLimit = LOG_LIMIT
) -> None:
    """Write supervisord's config file: every program has a rotated log, and none starts before it is asked for."""
    lines = [
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        "nocleanup=true",
        f"directory={_value(root)}",
        f"logfile={_value(files.logs / 'supervisord.log')}",
        f"logfile_maxbytes={log_limit.file_bytes}",
        f"logfile_backups={log_limit.rotated_files}",
        "loglevel=info",
        f"pidfile={_value(files.folder / 'supervisord.pid')}",
        f"childlogdir={_value(files.folder)}",
        "",
        "[unix_http_server]",
        f"file={_value(files.socket)}",
        "chmod=0700",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for priority, program in enumerate(programs, start=1):
        lines += ["", *_program_section(files, program, priority, root, log_limit)]
    files.configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
    files.configuration.chmod(0o600)


def _program_section(
    files: SupervisorFiles, program: Program, priority: int, root: Path, log_limit: LogLimit
) -> list[str]:
    command = [sys.executable, "-m", "wmkml.launcher.supervision.child", str(program.expendable), *program.command]
    environment = ",".join(f'{name}="{_value(value)}"' for name, value in program.environment.items())
    return [
        f"[program:{program.name}]",
        f"command={_value(shlex.join(command))}",
        f"directory={_value(root)}",
        # The last to start is the first to be stopped.
        f"priority={priority}",
        "autostart=false",
        f"autorestart={'true' if program.restart == 'always' else 'unexpected'}",
        "exitcodes=0",
        f"startsecs={program.start_seconds}",
        f"startretries={program.retries}",
        "stopsignal=TERM",
        f"stopwaitsecs={program.stop_seconds}",
        "stopasgroup=true",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_value(files.logs / (program.name + '.log'))}",
        f"stdout_logfile_maxbytes={log_limit.file_bytes}",
        f"stdout_logfile_backups={log_limit.rotated_files}",
        *([f"environment={environment}"] if environment else []),
    ]


def _value(value: object) -> str:
    if not is_writable(value):
        raise ValueError(f"{value}: cannot stand in supervisor's configuration")
    # supervisord expands %(name)s.
    return str(value).replace("%", "%%")


def is_writable(value: object) -> bool:
    """Whether a value can stand in supervisord's config file, which has no way to quote these characters."""
    # ` ;` begins a comment.
    return not any(mark in str(value) for mark in (" ;", "\n", "\r", '"'))
