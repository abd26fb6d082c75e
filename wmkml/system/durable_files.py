"""Files that survive a power cut: written through to the disk before anybody relies on them."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write a file.  Its content is on the disk when this returns; its name is only after `sync_folder`."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def replace(path: Path, content: bytes) -> None:
    """Create or replace a file, whole or not at all; it is on the disk when this returns.  Its folder must exist."""
    unfinished = path.with_name(f".new-{path.name}")
    write(unfinished, content)
    unfinished.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to the disk; on Windows, which cannot, it comes there in its own time."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
