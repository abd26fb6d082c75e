"""How fast a disk reads, and reading files ahead of whoever needs them: models lie on slow network volumes."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

BLOCK_BYTES = 8 * 2**20
MEASURED_BYTES = 192 * 2**20
"""The most that is read to measure a disk."""

MEASURED_SECONDS = 2.0
"""The longest that a disk is measured."""

MEMORY_SHARE = 0.5
"""Files are read ahead only where they take less than this share of the free memory: else the first would be gone again."""


def read_speed(path: Path, most_bytes: int = MEASURED_BYTES, seconds: float = MEASURED_SECONDS) -> float | None:
    """The speed of reading a file from its disk, in MiB/s, past the page cache where the file system allows it.

    Args:
        most_bytes, seconds: where reading stops.

    Returns:
        None where the file cannot be read, or is smaller than a block.
    """
    try:
        handle = _open_uncached(path)
    except OSError:
        return None
    # Pages of its own: reading past the cache wants aligned memory.
    buffer = mmap.mmap(-1, BLOCK_BYTES)
    try:
        read, began = 0, time.perf_counter()
        while read < most_bytes and time.perf_counter() - began < seconds:
            count = os.preadv(handle, [buffer], read)
            if count < BLOCK_BYTES:
                break
            read += count
        elapsed = time.perf_counter() - began
    except OSError:
        return None
    finally:
        os.close(handle)
        buffer.close()
    return read / 2**20 / max(elapsed, 1e-6) if read else None


def _open_uncached(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECT)
    except (OSError, AttributeError):  # tmpfs and some network volumes know no direct reading; nor does macOS
        handle = os.open(path, os.O_RDONLY)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    return handle


def read_ahead(paths: Sequence[Path]) -> threading.Thread | None:
    """Read files into the page cache in the background, one after the other; None where memory is too short for that.

    A file that cannot be read is left out: whoever needs it will say so.
    """
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    if not sizes or sum(sizes) > MEMORY_SHARE * psutil.virtual_memory().available:
        return None
    thread = threading.Thread(target=_read_all, args=(paths,), name="read-ahead", daemon=True)
    thread.start()
    return thread


def _read_all(paths: Sequence[Path]) -> None:
    buffer = bytearray(BLOCK_BYTES)
    for path in paths:
        try:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
        except OSError:
            continue
