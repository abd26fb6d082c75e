"""A run's folder while the installation owns it: begun, found again after a crash, and taken away without leaving a word.

What a run's folder holds is told in `wmkml.runs.folder`.  A run that is over keeps its adapters where they are until
inference has unloaded them: an engine that misses the files of a loaded adapter dies.  A file `.over` says that what is
beside it is to go.  Knows nothing of who may end a run.
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

from wmkml.runs.folder import UNFINISHED
from wmkml.runs.store import RunStore

log = logging.getLogger(__name__)

OVER = ".over"
GONE = ".gone-"


class Damaged(ValueError):
    """A run that cannot be read; the text says what of it."""


def new_name(language: str) -> str:
    """A name no run had before: time, language, four random characters."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{language}-{secrets.token_hex(2)}"


def find(runs: Path, *, over: bool = False) -> tuple[Path, RunStore] | None:
    """The newest run of the installation that goes on, or, with `over`, the newest that does not; its store is open."""
    if not runs.is_dir():
        return None
    for folder in sorted(runs.iterdir(), reverse=True):
        if folder.name.startswith(".") or not _has_a_run(folder):
            continue
        try:
            if _kind(folder) != "installation":
                continue
            with _opened(folder) as store:
                row = store.run()
        except Damaged as damage:
            log.error("%s is passed over: %s.", folder, damage)
            continue
        if row is not None and (row.phase == "waiting") == over:
            return folder, RunStore(folder / "run.sqlite")
    return None


def _has_a_run(folder: Path) -> bool:
    there = (folder / "run.json").is_file() and (folder / "run.sqlite").is_file()
    return there and not (folder / OVER).exists()


def _kind(folder: Path) -> str:
    """What made this run.  Raises Damaged where that cannot be read."""
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except ValueError:
        raise Damaged("its run.json is damaged") from None
    return str(about.get("kind")) if isinstance(about, dict) else ""


@contextmanager
def _opened(folder: Path) -> Iterator[RunStore]:
    """A run's database for a look into it.  Raises Damaged where SQLite calls it so."""
    try:
        with closing(RunStore(folder / "run.sqlite")) as store:
            yield store
    except sqlite3.OperationalError:
        raise  # a full disk, say: nothing is wrong with the file
    except sqlite3.DatabaseError:
        raise Damaged("its run.sqlite is damaged") from None


def _damage(folder: Path) -> str:
    """What is wrong with a run of the installation; nothing if the sentence is empty."""
    try:
        if _kind(folder) != "installation":
            return ""
        with _opened(folder) as store:
            return "" if store.whole() else "its run.sqlite is damaged"
    except Damaged as damage:
        return str(damage)


def give_up(folder: Path) -> None:
    """This folder is no run any more, also after a crash; `bury` may follow once its database is closed."""
    (folder / OVER).touch()


def bury(folder: Path) -> None:
    """Take everything away but the adapters, which inference may hold open; `empty_graves` takes the rest."""
    give_up(folder)
    for path in folder.iterdir():
        if path.name not in ("adapters", OVER):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def give_up_adapters(folder: Path) -> None:
    """The adapters are to go, the words stay."""
    (folder / "adapters" / OVER).touch()


def give_up_damaged(runs: Path, *, keep: bool) -> list[str]:
    """Give up the runs that cannot be read any more: they cannot go on, and their words may not stay.

    Their adapters go with the other graves, after inference has unloaded them.

    Args:
        keep: runs are kept: leave them where they are, `find` passes over them.

    Returns:
        A sentence for the operator about each.
    """
    told = []
    for folder in runs.iterdir():
        if _has_a_run(folder) and (damage := _damage(folder)):
            told.append(f"Run {folder.name} cannot go on: {damage}; it {'stays as it is' if keep else 'is removed'}.")
            if not keep:
                bury(folder)
    return told


def tidy(runs: Path) -> None:
    """Finish what a crash interrupted: no word stays of a run that is over, and no half made folder."""
    for pattern in (f"{UNFINISHED}*", f"{GONE}*"):
        for leftover in runs.glob(pattern):
            shutil.rmtree(leftover)
    for marker in runs.glob(f"*/{OVER}"):
        bury(marker.parent)


def empty_graves(runs: Path) -> None:
    """Remove the adapters of runs that are over; to be called only once inference has unloaded them, or is gone."""
    for marker in [*runs.glob(f"*/adapters/{OVER}"), *runs.glob(f"*/{OVER}")]:
        leaving = runs / f"{GONE}{secrets.token_hex(4)}"
        marker.parent.rename(leaving)  # gone at once, whatever interrupts the rest
        shutil.rmtree(leaving)
