"""How many cores this process may use.  Standard library only: the installer asks before anything is installed.

A container is confined in two ways: to certain cores (its affinity), and to a share of time on all of them (the CPU
quota of its control group).  A rented pod mostly has the second: it sees 128 cores and may use the time of 16.
"""

from __future__ import annotations

import os
from pathlib import Path

from wmkml.system.control_groups import HIERARCHIES, MEMBERSHIP, group_folders


def usable_cores() -> int:
    """The cores whose time this process may use: those it may be scheduled on, or fewer by its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    # Rounded down: a thread more than there is time for stops all the others whenever the quota is used up.
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(membership: Path = MEMBERSHIP, hierarchies: Path = HIERARCHIES) -> float | None:
    """The smallest CPU quota of this process's control groups and of those above them, in cores; None: no quota.

    Args:
        membership, hierarchies: as in `group_folders()`.

    Source: the kernel's documentation, cgroup-v2.rst (`cpu.max`) and cgroup-v1 with sched-bwc.rst (`cpu.cfs_quota_us`).
    """
    quotas = (_quota_of(folder) for folder in group_folders("cpu", membership, hierarchies))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(folder: Path) -> float | None:
    """The quota of one group, in cores; None if it has none."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
