"""Whether there is room for the packages, asked before they are downloaded.  Standard library only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30


@dataclass(frozen=True)
class Space:
    """GiB that an installation takes: `installed` in env/, `downloaded` in pip's folder for downloads while it runs."""

    installed: float
    downloaded: float


SPACE = {
    "cuda": Space(12.0, 5.0),
    "cuda12": Space(12.0, 5.0),
    # Measured with what the tests need: 4.0 GiB.
    "cpu": Space(5.0, 2.0),
    "plain": Space(2.0, 1.0),
}
"""By flavour.  The CUDA builds are reckoned from the sizes of their wheels, with room to spare."""

AN_UPDATE = 1.0
"""GiB that are needed where most of it is installed already."""


class NoSpaceError(RuntimeError):
    """The packages do not fit.  The text says how much is missing where."""


def needs(
    flavour: str, env: Path, environment: Mapping[str, str], *, held_gib: float = 0.0
) -> list[tuple[str, Path, float]]:
    """What is needed where: for what, a folder that exists, and GiB.

    Args:
        held_gib: what env/ holds already and keeps.
    """
    space = SPACE[flavour]
    left = max(space.installed - held_gib, AN_UPDATE)
    downloads = min(space.downloaded, left)
    wanted = [(f"{env.name}/", env, left), ("pip's downloads", Path(tempfile.gettempdir()), downloads)]
    if "PIP_NO_CACHE_DIR" not in environment:
        wanted.append(("pip's cache", pip_cache(environment), downloads))
    return [(purpose, _existing(folder), gib) for purpose, folder, gib in wanted]


def pip_cache(environment: Mapping[str, str]) -> Path:
    """Where pip keeps what it downloaded."""
    if chosen := environment.get("PIP_CACHE_DIR"):
        return Path(chosen)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pip"


def shortages(wanted: list[tuple[str, Path, float]]) -> list[str]:
    """A sentence for each file system with too little space; what lies on one file system is added up."""
    by_device: dict[int, list[tuple[str, Path, float]]] = {}
    for purpose, folder, gib in wanted:
        by_device.setdefault(folder.stat().st_dev, []).append((purpose, folder, gib))
    sentences = []
    for parts in by_device.values():
        free = shutil.disk_usage(parts[0][1]).free / GIB
        needed = sum(gib for _, _, gib in parts)
        if free < needed:
            purposes = ", ".join(f"{purpose} {gib:.0f}" for purpose, _, gib in parts)
            sentences.append(
                f"{parts[0][1]} has {free:.1f} GiB free, and {needed:.0f} are needed there ({purposes}): "
                f"{needed - free:.1f} GiB are missing."
            )
    return sentences


def check(flavour: str, env: Path, *, held_gib: float = 0.0) -> None:
    """Raise unless the packages fit.

    Raises:
        NoSpaceError: they do not.
    """
    missing = shortages(needs(flavour, env, os.environ, held_gib=held_gib))
    if missing:
        raise NoSpaceError(
            f"The packages do not fit. {' '.join(missing)} Make room there; PIP_NO_CACHE_DIR=1 does without pip's cache, "
            "TMPDIR=/elsewhere moves its downloads; env/ may be a link to a folder elsewhere."
        )


def size_gib(folder: Path) -> float:
    """What a folder holds, in GiB on the disk; a file with several names counts once."""
    counted: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            status = (Path(parent) / name).lstat()
            counted[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(counted.values()) / GIB


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
