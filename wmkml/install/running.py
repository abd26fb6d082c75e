"""The launcher that runs of this checkout, and who keeps it running: what an update has to stop, and to start again.

Standard library only.  Everything is read from /proc, so that it is true also after a `kill -9`: the launcher's arguments, where
they were given, its data folder (whose lock it holds open), and its keeper.  Whoever keeps it running does the stop and the
start, else they would take the stop for the end, or start a second one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

UNIT = "watch-me-kill-my-language.service"
"""The systemd unit of `./master_script.sh --install-service`."""

KEEPER = "keep-running"
"""In `scripts/`: what keeps the installation running where there is no systemd."""

UPDATING = "updating.pid"
"""In the checkout, while an update stops and starts what runs: the process that updates, for which `scripts/keep-running`
waits; then "done", until that has seen it."""

Keeper = Literal["", "systemd", "systemd --user", "keep-running"]

PROC = Path("/proc")


@dataclass(frozen=True)
class Running:
    """A launcher that lives.

    Attributes:
        data: its data folder.
        arguments: those that `master_script.sh` was given, without `start`.
        folder: where they were given: relative paths among them start there.
        keeper: empty where nobody starts it again.
    """

    data: Path
    arguments: tuple[str, ...]
    folder: Path
    keeper: Keeper


def find_running(project: Path) -> Running | None:
    """The launcher of this checkout that holds a data folder's lock; None if there is none."""
    for process in _launchers(project):
        try:
            locks = [link for entry in (process / "fd").iterdir() if (link := _link(entry)).name == "cluster.lock"]
            words = _words(process)
            folder = _link(process / "cwd")
        except OSError:
            continue  # it has ended meanwhile, or is another user's
        if locks:
            arguments = words[words.index("wmkml.launcher") + 1 :]
            return Running(locks[0].parent, tuple(arguments), folder, _keeper(process))
    return None


def systemctl(running: Running, action: Literal["start", "stop"]) -> str:
    """Have systemd start or stop the unit; returns what it complained about, empty where it did."""
    command = [*running.keeper.replace("systemd", "systemctl").split(), action, UNIT]
    if running.keeper == "systemd" and os.geteuid() != 0:
        command.insert(0, "sudo")  # the update itself is its owner's: git and pip would leave root's files
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"`{' '.join(command)}` failed: {error.strerror}"
    if done.returncode == 0:
        return ""
    return f"`{' '.join(command)}` failed: {done.stderr.strip() or f'status {done.returncode}'}"


def _launchers(project: Path) -> Iterator[Path]:
    environment = (project / "env").resolve()
    for process in PROC.iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = _words(process)
        except OSError:
            continue
        if words[1:3] == ["-m", "wmkml.launcher"] and Path(words[0]).parent.parent.resolve() == environment:
            yield process


def _words(process: Path) -> list[str]:
    return os.fsdecode((process / "cmdline").read_bytes()).split("\0")[:-1]


def _link(path: Path) -> Path:
    return path.readlink()


def _keeper(process: Path) -> Keeper:
    cgroups = (process / "cgroup").read_text()
    if UNIT in cgroups:
        return "systemd --user" if "/user.slice/" in cgroups else "systemd"
    # The process's own name is in brackets, and may hold any of them.
    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
    try:
        is_kept = any(Path(word).name == KEEPER for word in _words(PROC / parent))
    except OSError:
        return ""
    return "keep-running" if is_kept else ""
