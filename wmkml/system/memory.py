"""How much memory this process may use.  Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from wmkml.system.control_groups import HIERARCHIES, MEMBERSHIP, group_folders


def memory_gib() -> float:
    """The machine's memory in GiB, or less by the limit of this process's control group: beyond that the kernel kills it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit()
    return (machine if limit is None else min(machine, limit)) / 2**30


def memory_limit(membership: Path = MEMBERSHIP, hierarchies: Path = HIERARCHIES) -> int | None:
    """The smallest limit of this process's control groups and of those above them, in bytes; None: no limit.

    Version 1 has a limit in every group; where none was set it is larger than any machine's memory.

    Args:
        membership, hierarchies: as in `group_folders()`.

    Source: the kernel's documentation, cgroup-v2.rst (`memory.max`) and cgroup-v1/memory.rst (`memory.limit_in_bytes`).
    """
    limits = (_limit_of(folder) for folder in group_folders("memory", membership, hierarchies))
    return min((limit for limit in limits if limit is not None), default=None)


def _limit_of(folder: Path) -> int | None:
    """The limit of one group, in bytes; None if it has none."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            text = (folder / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        return None if text == "max" else int(text)
    return None
