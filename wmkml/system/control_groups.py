"""The control groups of Linux that this process is in, by which a container is confined.  Standard library only.

Source: the kernel's documentation, cgroup-v2.rst, and for version 1 cgroups.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
"""The control groups of this process, a line for each hierarchy: `number:controllers:path`."""

HIERARCHIES = Path("/sys/fs/cgroup")
"""Where control groups are mounted."""


def group_folders(controller: str, membership: Path = MEMBERSHIP, hierarchies: Path = HIERARCHIES) -> Iterator[Path]:
    """The folders of this process's groups and of all groups above them, which may have no such controller or not be there.

    Args:
        controller: a controller of version 1, such as `cpu` or `memory`; version 2 has a single hierarchy for all of them.
        membership: as `MEMBERSHIP`.
        hierarchies: as `HIERARCHIES`.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            # Version 2; beside version 1 it is mounted in a folder of its own.
            roots = [hierarchies, hierarchies / "unified"]
        elif controller in controllers.split(","):
            roots = [hierarchies / controllers, hierarchies / controller]
        else:
            continue
        for root in roots:
            yield from _upwards(root, path)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The group's folder and those above it, up to the root.

    In a container the path may be the host's, of which nothing is mounted here; its own group is the root then.
    """
    folder = root / path.lstrip("/")
    while folder != root:
        yield folder
        folder = folder.parent
    yield root
