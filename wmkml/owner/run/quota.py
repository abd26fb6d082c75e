"""How much the installation may keep on its disk: ended runs, reports and rotated logs give way, the oldest first.

The run under way, the logs that are being written, and what was created or marked for deletion are counted and never deleted.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from wmkml.config.paths import Paths
from wmkml.owner.run.run_folder import DELETING_PREFIX, OVER_MARKER

GIB = 2**30

FRESH_SECONDS = 300.0
"""A run that began in the last so many seconds stays: it may have begun since it was asked which run is under way."""


@dataclass(frozen=True)
class KeptItem:
    """A run's folder, a report or a rotated log that may go.  `written_at`: seconds since 1970."""

    path: Path
    size_bytes: int
    written_at: float


@dataclass(frozen=True)
class QuotaOutcome:
    """What is used after making room, in bytes, and the names of what was deleted, oldest first."""

    used_bytes: int
    deleted: tuple[str, ...]


def make_room(paths: Paths, quota_bytes: int, kept_runs: Collection[Path] = ()) -> QuotaOutcome:
    """Delete the oldest of what may go until all of it takes no more than the quota.

    Args:
        kept_runs: folders of runs that must stay: the one under way, and one whose words the next run takes over.
    """
    used = sum(_size(folder) for folder in (paths.runs, paths.reports, paths.logs))
    deleted = []
    for item in sorted(_items(paths, kept_runs), key=lambda item: item.written_at):
        if used <= quota_bytes:
            break
        _delete(item.path)
        used -= item.size_bytes
        deleted.append(item.path.name)
    return QuotaOutcome(used, tuple(deleted))


def _items(paths: Paths, kept_runs: Collection[Path]) -> Iterator[KeptItem]:
    kept = {folder.resolve() for folder in kept_runs}
    for path in _children(paths.runs):
        ended = path.is_dir() and not path.name.startswith(".") and not (path / OVER_MARKER).exists()
        if ended and path.resolve() not in kept and _began(path) < time.time() - FRESH_SECONDS:
            yield KeptItem(path, _size(path), _newest(path))
    for path in _children(paths.reports):
        if not path.name.startswith("."):
            yield KeptItem(path, _size(path), _newest(path))
    for path in paths.logs.glob("*.log.*"):
        yield KeptItem(path, _size(path), _newest(path))


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink() or not path.is_dir():
        return iter((path,))
    return (file for file in path.rglob("*") if file.is_file())


def _size(path: Path) -> int:
    """The bytes in a file or folder; 0 where it goes meanwhile."""
    size = 0
    for file in _files(path):
        try:
            size += file.lstat().st_size
        except OSError:
            continue
    return size


def _began(run: Path) -> float:
    """When a run's folder was made, whose `run.json` is written once; 0 where it is no run's."""
    try:
        return 0.0 if run.is_symlink() else (run / "run.json").lstat().st_mtime
    except OSError:
        return 0.0


def _newest(path: Path) -> float:
    """When anything in a file or folder was last written."""
    newest = 0.0
    for file in _files(path):
        try:
            newest = max(newest, file.lstat().st_mtime)
        except OSError:
            continue
    return newest


def _delete(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    # It vanishes at once; an interrupted deletion is finished at the owner's next start.
    deleting = path.with_name(f"{DELETING_PREFIX}{secrets.token_hex(4)}")
    path.rename(deleting)
    shutil.rmtree(deleting, ignore_errors=True)
