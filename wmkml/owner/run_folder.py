"""A run's folder on disk: made, found again after a crash, and taken away without leaving a word.

    runs/<run>/run.json        what the run is, and the settings it runs with, secrets masked
    runs/<run>/run.sqlite      pairs, rounds, adapters (`schema.py`)
    runs/<run>/losses.jsonl    one line for each optimizer step
    runs/<run>/measures.jsonl  one line for each round's start: the texts' measures
    runs/<run>/adapters/…      LoRA weights in PEFT's form, a folder for each attempt

A run that is over keeps its adapters where they are until inference has unloaded them: an engine that misses the files
of a loaded adapter dies.  A file `.over` says that what is beside it is to go.  Knows nothing of who may end a run.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from wmkml.config import Settings
from wmkml.owner.schema import FORMAT
from wmkml.owner.store import RunStore

OVER = ".over"
GONE = ".gone-"
UNFINISHED = ".new-"


def new_name(language: str) -> str:
    """A name no run had before: time, language, four random characters."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{language}-{secrets.token_hex(2)}"


def adapter_folder(folder: Path, iteration: int, attempt: int) -> Path:
    """Where the adapter of an attempt belongs; no two attempts share a folder."""
    return folder / "adapters" / f"iteration-{iteration}-attempt-{attempt}"


def make(runs: Path, run: str, language: str, settings: Settings) -> tuple[Path, RunStore]:
    """Make a run's folder, readable by its owner alone, and its empty database."""
    folder, making = runs / run, runs / f"{UNFINISHED}{run}"
    making.mkdir(mode=0o700, parents=True)
    (making / "adapters").mkdir()
    started = time.time()
    about = {
        "format": FORMAT,
        "kind": "installation",
        "run": run,
        "language": language,
        "started_at": started,
        "settings": settings.model_dump(mode="json"),
    }
    (making / "run.json").write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")
    store = RunStore(making / "run.sqlite")
    store.begin(run, language, started)
    store.close()
    making.rename(folder)  # a run is there whole or not at all
    return folder, RunStore(folder / "run.sqlite")


def find(runs: Path, *, over: bool = False) -> tuple[Path, RunStore] | None:
    """The newest run of the installation that goes on, or, with `over`, the newest that does not; its store is open."""
    if not runs.is_dir():
        return None
    for folder in sorted(runs.iterdir(), reverse=True):
        if folder.name.startswith(".") or not _is_ours(folder):
            continue
        store = RunStore(folder / "run.sqlite")
        row = store.run()
        if row is not None and (row.phase == "waiting") == over:
            return folder, store
        store.close()
    return None


def _is_ours(folder: Path) -> bool:
    about = folder / "run.json"
    if not about.is_file() or not (folder / "run.sqlite").is_file() or (folder / OVER).exists():
        return False
    return bool(json.loads(about.read_text(encoding="utf-8")).get("kind") == "installation")


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


def append_line(folder: Path, name: str, line: dict[str, Any]) -> None:
    """Add a line to one of the run's `.jsonl` files."""
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
