"""A run's folder on disk, whole or not there at all: the same form for the installation and the laboratory.

    <runs>/<run>/run.json        what the run is, and the settings it runs with, secrets masked
    <runs>/<run>/run.sqlite      pairs, rounds, adapters (`schema.py`)
    <runs>/<run>/losses.jsonl    one line for each optimizer step
    <runs>/<run>/measures.jsonl  one line for each round's start: the texts' measures
    <runs>/<run>/adapters/…      LoRA weights in PEFT's form, a folder for each attempt

Knows nothing of who plays the run, and nothing of when it is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from wmkml import durable
from wmkml.config import Settings
from wmkml.runs.schema import FORMAT
from wmkml.runs.store import RunStore

UNFINISHED = ".new-"
"""What a folder's name begins with while it is being made."""

Kind = Literal["installation", "laboratory"]
"""What made a run."""


def make(
    runs: Path,
    run: str,
    language: str,
    settings: Settings,
    kind: Kind = "installation",
    more: Mapping[str, Any] | None = None,
) -> tuple[Path, RunStore]:
    """Make a run's folder, readable by its owner alone, and its empty database.

    Args:
        more: what `run.json` also says, under the name of the kind.
    """
    folder, making = runs / run, runs / f"{UNFINISHED}{run}"
    making.mkdir(mode=0o700, parents=True)
    (making / "adapters").mkdir()
    started = time.time()
    about: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "run": run,
        "language": language,
        "started_at": started,
        "settings": settings.model_dump(mode="json"),
    }
    if more is not None:
        about[kind] = dict(more)
    durable.write(making / "run.json", json.dumps(about, ensure_ascii=False, indent=1).encode())
    store = RunStore(making / "run.sqlite")
    store.begin(run, language, started)
    store.close()
    durable.sync_folder(making)
    making.rename(folder)  # a run is there whole or not at all, also after a power cut
    durable.sync_folder(runs)
    return folder, RunStore(folder / "run.sqlite")


def adapter_folder(folder: Path, iteration: int, attempt: int) -> Path:
    """Where the adapter of an attempt belongs; no two attempts share a folder."""
    return folder / "adapters" / f"iteration-{iteration}-attempt-{attempt}"


def append_line(folder: Path, name: str, line: Mapping[str, Any]) -> None:
    """Add a line to one of the run's `.jsonl` files."""
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(line)) + "\n")
