"""The installation's run folders: naming a new run, finding one to continue, and deleting runs that are over.

The format of a run folder is described in `wmkml.runs.folder`.

Deletion has two steps, because an engine crashes if the files of a loaded adapter disappear: a file `.over` marks its
folder for deletion; everything but the adapters is deleted at once, and the adapters after inference has unloaded them.
A deletion that a crash interrupted is finished at the next start.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from wmkml.runs.database import not_stored
from wmkml.runs.folder import UNFINISHED_PREFIX
from wmkml.runs.store import RunStore

log = logging.getLogger(__name__)

OVER_MARKER = ".over"
"""Name of the file that marks its folder (a run's, or a run's `adapters`) for deletion."""

DELETING_PREFIX = ".gone-"
"""Of a folder's name while it is being deleted."""


class RunDamagedError(ValueError):
    """A run that cannot be read; the text says which file is damaged."""


def new_run_name(language: str) -> str:
    """A unique run name: time, language, four random characters; names sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{language}-{secrets.token_hex(2)}"


def find_run(runs: Path, *, over: bool = False) -> tuple[Path, RunStore] | None:
    """The newest run of the installation that is not over, or with `over` the newest that is; its store is open."""
    if not runs.is_dir():
        return None
    for folder in sorted(runs.iterdir(), reverse=True):
        if folder.name.startswith(".") or not _holds_run(folder):
            continue
        try:
            if _kind(folder) != "installation":
                continue
            with _open_store(folder) as store:
                row = store.run()
        except RunDamagedError as damage:
            log.error("%s is passed over: %s.", folder, damage)
            continue
        if row is not None and (row.phase == "waiting") == over:
            return folder, RunStore(folder / "run.sqlite")
    return None


def _holds_run(folder: Path) -> bool:
    """Whether the folder holds a run that is not marked for deletion."""
    complete = (folder / "run.json").is_file() and (folder / "run.sqlite").is_file()
    return complete and not (folder / OVER_MARKER).exists()


def _kind(folder: Path) -> str:
    """The run's kind from its `run.json`.  Raises RunDamagedError where that cannot be read."""
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except ValueError:
        raise RunDamagedError("its run.json is damaged") from None
    return str(about.get("kind")) if isinstance(about, dict) else ""


@contextmanager
def _open_store(folder: Path) -> Iterator[RunStore]:
    """A run's database, closed afterwards.  Raises RunDamagedError where SQLite finds it damaged."""
    try:
        with closing(RunStore(folder / "run.sqlite")) as store:
            yield store
    except sqlite3.OperationalError:
        raise  # for example a full disk: the file itself is not damaged
    except sqlite3.DatabaseError:
        raise RunDamagedError("its run.sqlite is damaged") from None


def _damage(folder: Path) -> str:
    """What is damaged in a run of the installation; empty if nothing is."""
    try:
        if _kind(folder) != "installation":
            return ""
        with _open_store(folder) as store:
            return "" if store.is_intact() else "its run.sqlite is damaged"
    except RunDamagedError as damage:
        return str(damage)


@contextmanager
def _tried_again_later(folder: Path, act: str) -> Iterator[None]:
    """Log what a disk that takes nothing keeps from being done to a folder; it is done by `delete_marked` or at the next start."""
    try:
        yield
    except FileNotFoundError:
        return  # somebody has deleted it
    except OSError as error:
        if not_stored(error) is None:
            raise
        log.warning("%s cannot be %s yet (%s); it is tried again.", folder, act, error.strerror)


def mark_over(folder: Path) -> None:
    """Mark a run for deletion, durably against a crash; its database may still be open.

    On a disk that takes no new name it is marked once its files are deleted.
    """
    with _tried_again_later(folder, "marked for deletion"):
        (folder / OVER_MARKER).touch()


def delete_all_but_adapters(folder: Path) -> bool:
    """Mark a run for deletion and delete everything but its adapters; its database must be closed.

    Returns:
        False where a disk that has become read only keeps it, which is logged: to be called again.
    """
    mark_over(folder)
    if not folder.is_dir():
        return True
    with _tried_again_later(folder, "deleted"):
        for path in folder.iterdir():
            if path.name not in ("adapters", OVER_MARKER):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not (folder / OVER_MARKER).exists():
        mark_over(folder)
    return not any(folder.glob("run.*")) and (folder / OVER_MARKER).exists()


def mark_adapters_over(folder: Path) -> bool:
    """Mark a run's adapters for deletion; its database stays.  False where the disk does not let it, as above."""
    if (folder / "adapters").is_dir():
        with _tried_again_later(folder / "adapters", "marked for deletion"):
            (folder / "adapters" / OVER_MARKER).touch()
        return (folder / "adapters" / OVER_MARKER).exists()
    return True


def discard_damaged_runs(runs: Path, *, keep: bool) -> list[str]:
    """Delete all but the adapters of runs that cannot be read: they cannot continue, and their words must not stay.

    Args:
        keep: runs are kept: leave the damaged ones where they are; `find_run` passes over them.

    Returns:
        A sentence for the operator about each.
    """
    sentences = []
    for folder in runs.iterdir():
        if _holds_run(folder) and (damage := _damage(folder)):
            fate = "stays as it is" if keep else "is removed"
            sentences.append(f"Run {folder.name} cannot go on: {damage}; it {fate}.")
            if not keep:
                delete_all_but_adapters(folder)
    return sentences


def finish_interrupted(runs: Path) -> None:
    """Finish what a crash interrupted: delete half-created and half-deleted folders, and the words of marked runs."""
    for pattern in (f"{UNFINISHED_PREFIX}*", f"{DELETING_PREFIX}*"):
        for leftover in runs.glob(pattern):
            with _tried_again_later(leftover, "deleted"):
                shutil.rmtree(leftover)
    for marker in runs.glob(f"*/{OVER_MARKER}"):
        delete_all_but_adapters(marker.parent)


def delete_marked(runs: Path) -> None:
    """Delete all folders marked for deletion; call it only once inference has unloaded the adapters, or is gone."""
    for marker in [*runs.glob(f"*/adapters/{OVER_MARKER}"), *runs.glob(f"*/{OVER_MARKER}")]:
        deleting = runs / f"{DELETING_PREFIX}{secrets.token_hex(4)}"
        with _tried_again_later(marker.parent, "deleted"):
            marker.parent.rename(deleting)  # it vanishes at once; an interrupted rmtree is finished at the next start
            shutil.rmtree(deleting)
