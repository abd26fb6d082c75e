"""Ending what is left of a cluster: every process whose environment carries its mark, and nothing else.

An engine's children outlive an engine that was killed, and hold gigabytes.  Knows processes; knows no services.
"""

from __future__ import annotations

import os
from collections.abc import Collection

import psutil


def marked(variable: str, value: str, keep: Collection[int] = ()) -> list[psutil.Process]:
    """The processes of this user that were started with `variable=value`, without this one, its ancestors and `keep`."""
    spared = {os.getpid(), *keep, *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        try:
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            # Another user's, the kernel's, or gone while we looked: none of ours.
            continue
    return found


def end_marked(variable: str, value: str, keep: Collection[int] = (), patience: float = 2.0) -> list[str]:
    """Ask every marked process to end, kill those that have not after `patience` seconds; returns their names."""
    processes = marked(variable, value, keep)
    names = [_name(process) for process in processes]
    for process in processes:
        _signal(process, kill=False)
    _, alive = psutil.wait_procs(processes, timeout=patience)
    # Whatever they started meanwhile is marked as well.
    while alive := [*alive, *marked(variable, value, keep)]:
        for process in alive:
            _signal(process, kill=True)
        _, alive = psutil.wait_procs(alive, timeout=patience)
        if alive:
            stuck = ", ".join(f"{_name(process)} ({process.pid})" for process in alive)
            raise RuntimeError(f"these processes cannot be killed: {stuck}; restart the machine if they hold a GPU")
    return names


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        # It has ended by itself, which is what was wanted.
        return


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return "ended"
