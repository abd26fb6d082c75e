"""Processes that a killed service left behind: found by a mark in their environment, and ended.

An engine's children outlive an engine that was killed, and hold gigabytes.  Whoever starts next marks itself before it
starts children, and ends what carries its mark from before.  Knows processes; knows no service.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

VARIABLE = "WMKML_SERVICE"
"""The environment variable that holds the mark."""

PATIENCE = 5.0
"""Seconds that a killed process gets to be gone."""


def mark_of(service: str, data: Path) -> str:
    """The mark of a service of one installation, told apart by its data folder."""
    return f"{service}:{data.resolve()}"


def end_leftovers(mark: str) -> int:
    """Kill every process of this user whose environment carries this mark, but this one, its ancestors and children.

    To be called before the first child is started, and only once it is certain that no other such service lives.

    Returns:
        How many there were.

    Raises:
        RuntimeError: one of them cannot be killed.
    """
    me = psutil.Process()
    spared = {me.pid, *(one.pid for one in me.parents()), *(one.pid for one in me.children(recursive=True))}
    return kill([one for one in psutil.process_iter() if one.pid not in spared and carries(one, VARIABLE, mark)])


def end_children() -> int:
    """Kill every descendant of this process; returns how many there were."""
    return kill(psutil.Process().children(recursive=True))


def mark_this_process(mark: str) -> None:
    """Have every child that is started from now on carry the mark."""
    os.environ[VARIABLE] = mark
    # vLLM's children give themselves titles, and setproctitle would write them over their environment.
    os.environ["SPT_NOENV"] = "1"


def carries(process: psutil.Process, variable: str, value: str) -> bool:
    """Whether a process of this user lives and was started with `variable=value` in its environment."""
    try:
        return process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        # Another user's, the kernel's, or gone while we looked: none of ours.
        return False


def kill(processes: list[psutil.Process]) -> int:
    """Kill these processes and wait until they are gone; returns how many there were.

    Raises:
        RuntimeError: one of them cannot be killed.
    """
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            # It has ended by itself, which is what was wanted.
            continue
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    if alive:
        raise RuntimeError(f"process {alive[0].pid} cannot be killed; restart the machine if it holds a GPU.")
    return len(processes)
