"""Reads losses again whenever somebody has written on: what `wmkml loss --follow` draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.laboratory.losses.reading import EVENTS, HELD_OUT_FILE, RUN_FILE, TRAINER_FILE, LossesError, read_losses

if TYPE_CHECKING:
    from pandas import DataFrame

Signature = tuple[tuple[str, int, int], ...]
"""Of every file that holds losses: its path, size in bytes, and time of change in nanoseconds."""


def follow(
    paths: tuple[Path, ...], wait: Callable[[], bool], labels: tuple[str, ...] = ()
) -> Iterator[DataFrame | LossesError]:
    """The losses, now and after every change; an error in their place while there are none.

    Args:
        wait: returns after a moment; False ends the iterator.
    """
    before: Signature | None = None
    while True:
        now = signature(paths)
        if now != before:
            before = now
            try:
                yield read_losses(*paths, labels=labels)
            except LossesError as error:
                yield error
        if not wait():
            return


def signature(paths: tuple[Path, ...]) -> Signature:
    """What tells that something was written; empty where nothing is there yet."""
    found_files = (file for path in paths for file in _files(path))
    states = []
    for file in found_files:
        try:
            status = file.stat()
        except OSError:
            continue  # a checkpoint that was deleted between listing and looking
        states.append((str(file), status.st_size, status.st_mtime_ns))
    return tuple(states)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    patterns = (RUN_FILE, HELD_OUT_FILE, f"*/{RUN_FILE}", TRAINER_FILE, f"checkpoint-*/{TRAINER_FILE}", f"**/{EVENTS}")
    return sorted({file for pattern in patterns for file in path.glob(pattern)})
