"""A run's folder on disk, in one form for the installation and the laboratory; it appears complete or not at all.

<runs>/<run>/run.json        what the run is, and the settings it runs with, secrets masked
<runs>/<run>/run.sqlite      pairs, rounds, adapters (`schema.py`)
<runs>/<run>/losses.jsonl    one line for each optimizer step
<runs>/<run>/measures.jsonl  a line for each round's start: measures of the newest texts; and a line whenever something was
                             measured of an iteration, or when a measured iteration begins to answer
<runs>/<run>/adapters/…      LoRA weights in PEFT's format, a folder for each attempt
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from wmkml.config import Settings
from wmkml.runs.schema import FORMAT
from wmkml.runs.store import RunStore
from wmkml.system import durable_files

UNFINISHED_PREFIX = ".new-"
"""Of a folder's name while it is being created."""

RunKind = Literal["installation", "laboratory", "finetune"]
"""What created a run."""


def create_run(
    runs: Path,
    run: str,
    language: str,
    settings: Settings,
    kind: RunKind = "installation",
    details: Mapping[str, Any] | None = None,
) -> tuple[Path, RunStore]:
    """Create a run's folder, readable by its owner only, and its empty database.

    Args:
        details: stored in `run.json` under the kind's name.

    Returns:
        The folder and its open store.
    """
    folder, unfinished = runs / run, runs / f"{UNFINISHED_PREFIX}{run}"
    try:
        _write_run(unfinished, run, language, settings, kind, details)
        unfinished.rename(folder)  # after a power cut the run exists completely or not at all
        durable_files.sync_folder(runs)
        return folder, RunStore(folder / "run.sqlite")
    except BaseException:
        for left in (unfinished, folder):
            shutil.rmtree(left, ignore_errors=True)
        raise


def _write_run(
    unfinished: Path,
    run: str,
    language: str,
    settings: Settings,
    kind: RunKind,
    details: Mapping[str, Any] | None,
) -> None:
    unfinished.mkdir(mode=0o700, parents=True)
    (unfinished / "adapters").mkdir()
    started = time.time()
    about: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "run": run,
        "language": language,
        "started_at": started,
        "settings": settings.model_dump(mode="json"),
    }
    if details is not None:
        about[kind] = dict(details)
    durable_files.write(unfinished / "run.json", json.dumps(about, ensure_ascii=False, indent=1).encode())
    with closing(RunStore(unfinished / "run.sqlite")) as store:
        store.begin(run, language, started)
    durable_files.sync_folder(unfinished)


def adapter_folder(folder: Path, iteration: int, attempt: int) -> Path:
    """The folder for the adapter of one attempt; no two attempts share a folder."""
    return folder / "adapters" / f"iteration-{iteration}-attempt-{attempt}"


def append_line(folder: Path, name: str, line: Mapping[str, Any]) -> None:
    """Append a line to one of the run's `.jsonl` files; `name` includes the ending."""
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(line)) + "\n")
