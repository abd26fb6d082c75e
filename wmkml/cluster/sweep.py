"""Ending what is left of a cluster: every process whose environment carries its mark, and nothing else.

A service ends what it left behind itself (`wmkml/leftovers.py`); here it is all of them, asked before they are killed.
"""

from __future__ import annotations

import os
from collections.abc import Collection

import psutil

from wmkml.leftovers import carries, kill


def marked(variable: str, value: str, keep: Collection[int] = ()) -> list[psutil.Process]:
    """The processes of this user that were started with `variable=value`, without this one, its ancestors and `keep`."""
    spared = {os.getpid(), *keep, *(parent.pid for parent in psutil.Process().parents())}
    return [one for one in psutil.process_iter() if one.pid not in spared and carries(one, variable, value)]


def end_marked(variable: str, value: str, keep: Collection[int] = (), patience: float = 2.0) -> list[str]:
    """Ask every marked process to end, kill those that have not after `patience` seconds; returns their names.

    Raises:
        RuntimeError: one of them cannot be killed.
    """
    processes = marked(variable, value, keep)
    names = [_ask_to_end(process) for process in processes]
    psutil.wait_procs(processes, timeout=patience)
    # Whatever they started meanwhile is marked as well.
    while left := marked(variable, value, keep):
        kill(left)
    return [name for name in names if name is not None]


def _ask_to_end(process: psutil.Process) -> str | None:
    try:
        name = str(process.name())
        process.terminate()
    except psutil.NoSuchProcess:
        # It has ended by itself, which is what was wanted.
        return None
    return name
