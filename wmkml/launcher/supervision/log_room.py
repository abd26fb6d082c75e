"""Room on a disk that is nearly full: logs give way before words and adapters do."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

WANTED_SHARE = 0.1
"""Of the disk, free: with less, logs give way …"""

WANTED_BYTES = 256 * 2**20
"""… or this much, where that is less."""

KEPT_BYTES = 64 * 1024
"""Of a log that is being written so much may stay."""


def make_room(logs: Path) -> list[str]:
    """Delete the oldest rotated logs until enough is free, then empty the logs that are being written.

    Returns:
        The names of the files that were deleted or emptied.
    """
    gone: list[str] = []
    if _has_room(logs):
        return gone
    rotated = [path for path in logs.glob("*.log.*") if path.is_file()]
    for path in sorted(rotated, key=_modified):
        with suppress(OSError):  # the disk is read only now: tried again at the next look
            path.unlink()
            gone.append(path.name)
        if _has_room(logs):
            return gone
    for path in logs.glob("*.log"):
        # They are opened to be appended to, so that what comes next is written at the new end.
        if _size(path) > KEPT_BYTES:
            with suppress(OSError):  # or supervisord has renamed it this moment
                os.truncate(path, 0)
                gone.append(path.name)
    return gone


def rotate(log: Path, most_bytes: int) -> None:
    """Put a log that is opened to be appended to aside as `….1` where it is larger, and go on with an empty one."""
    if _size(log) <= most_bytes:
        return
    aside = log.with_name(f"{log.name}.1")
    with suppress(OSError):  # without room for it: tried again at the next look
        aside.touch(mode=0o600)
        aside.chmod(0o600)  # launcher.log contains the stage's address with its key
        shutil.copyfile(log, aside)
        os.truncate(log, 0)


def _has_room(folder: Path) -> bool:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return True
    return usage.free >= min(WANTED_BYTES, WANTED_SHARE * usage.total)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
