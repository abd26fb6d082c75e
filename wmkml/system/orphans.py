"""Processes that outlive their parent: found by a mark in their environment, and ended.

A child inherits its parent's environment, so a mark set before the first child is started reaches every descendant,
also those that left the process group or lost their parent to `kill -9` (an engine's children do both, and hold
gigabytes).  psutil reads environments, sends the signals and waits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

SERVICE_VARIABLE = "WMKML_SERVICE"
"""The environment variable that marks a service and its children."""

GRACE_SECONDS = 2.0
"""How long a process may take to end after SIGTERM; whoever stops or restarts a cluster waits for it."""

KILL_SECONDS = 5.0
"""How long a process may take to disappear after SIGKILL: the kernel first frees its memory."""


@dataclass(frozen=True)
class Mark:
    """An environment variable and its value, carried by every process that was started with it."""

    variable: str
    value: str


def service_mark(service: str, data: Path) -> Mark:
    """The mark of a service of one installation, which its data folder tells apart from others on this machine."""
    return Mark(SERVICE_VARIABLE, f"{service}:{data.resolve()}")


def mark_this_process(mark: Mark) -> None:
    """Have every child that is started from now on carry the mark."""
    os.environ[mark.variable] = mark.value
    # vLLM's children set their process title, and setproctitle would write it over their environment.
    os.environ["SPT_NOENV"] = "1"


def marked_processes(mark: Mark) -> list[psutil.Process]:
    """This user's living processes that carry the mark, without this one and its ancestors."""
    this = psutil.Process()
    spared = {this.pid, *(parent.pid for parent in this.parents())}
    return [process for process in psutil.process_iter() if process.pid not in spared and _carries(process, mark)]


def end_marked_processes(mark: Mark, grace_seconds: float = GRACE_SECONDS) -> list[str]:
    """End every process that `marked_processes` lists, and those that they start meanwhile; returns the first ones' names.

    Args:
        grace_seconds: between SIGTERM and SIGKILL; 0 sends SIGKILL at once.

    Raises:
        RuntimeError: one of them survives SIGKILL.
    """
    processes = marked_processes(mark)
    names = [name for process in processes if (name := _name(process)) is not None]
    if grace_seconds > 0:
        for process in processes:
            _signal(process, psutil.Process.terminate)
        psutil.wait_procs(processes, timeout=grace_seconds)
        processes = marked_processes(mark)
    while processes:
        _kill(processes)
        processes = marked_processes(mark)
    return names


def kill_descendants() -> None:
    """Kill every descendant of this process.

    Raises:
        RuntimeError: one of them survives SIGKILL.
    """
    _kill(psutil.Process().children(recursive=True))


def _carries(process: psutil.Process, mark: Mark) -> bool:
    try:
        return process.environ().get(mark.variable) == mark.value and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        # Another user's, the kernel's, or it ended meanwhile: not one of ours.
        return False


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        _signal(process, psutil.Process.kill)
    _, alive = psutil.wait_procs(processes, timeout=KILL_SECONDS)
    if alive:
        raise RuntimeError(f"process {alive[0].pid} cannot be killed; restart the machine if it holds a GPU.")


def _signal(process: psutil.Process, send: Callable[[psutil.Process], None]) -> None:
    # It may have ended by itself, which is what was wanted.
    with contextlib.suppress(psutil.NoSuchProcess):
        send(process)


def _name(process: psutil.Process) -> str | None:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return None
