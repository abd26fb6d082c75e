"""A run's folder as what an autopsy needs of it: its settings, its model, and the adapter of each of its iterations."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from wmkml.config import Settings
from wmkml.config.paths import Paths
from wmkml.laboratory.analysis.sources import SourceError, SourceOptions, resolve_sources


class KeptRunError(ValueError):
    """A run cannot be asked.  The message says which, why, and what to do."""


@dataclass(frozen=True)
class KeptRun:
    """A run that is over.

    Attributes:
        settings: those it ran with.
        model: folder of the base model.
        adapters: the adapter's folder by iteration.
    """

    name: str
    language: str
    settings: Settings
    model: Path
    adapters: dict[int, Path]


def find_run_folder(name: str, paths: Paths) -> Path:
    """The folder of a run by its path or its name; `newest`: the newest one that was kept.

    Raises:
        KeptRunError: there is none.
    """
    if name == "newest":
        folders = [path.parent for path in paths.runs.glob("*/run.json") if not path.parent.name.startswith(".")]
        if not folders:
            raise KeptRunError(f"{paths.runs} holds no run: general.keep_runs keeps them.")
        return max(folders)
    for folder in (Path(name).expanduser(), paths.runs / name):
        if (folder / "run.json").is_file():
            return folder.resolve()
    raise KeptRunError(f"{name} is no run: neither that folder nor {paths.runs / name} holds a run.json.")


def read_kept_run(folder: Path, paths: Paths, root: Path, model: str = "") -> KeptRun:
    """A run from its folder; it is not changed.

    Args:
        root: the folder that relative paths start from.
        model: the base model, where it is another than the run's own names; empty: its own.

    Raises:
        KeptRunError: it cannot be read, is under way, or a model or adapter is missing.
    """
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        settings = Settings.model_validate_json(json.dumps(about["settings"]))
        name, language, kind = str(about["run"]), str(about["language"]), about.get("kind")
        phase = _phase(folder)
        sources = resolve_sources([str(folder)], SourceOptions(paths.models, root, base=model))
    except SourceError as error:
        raise KeptRunError(str(error)) from None
    except ValidationError as error:
        key = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        raise KeptRunError(f"{folder / 'run.json'}: this version does not know its settings ({key}).") from None
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error) as error:
        raise KeptRunError(f"{folder}: run.json or run.sqlite cannot be read ({type(error).__name__}).") from None
    if kind == "installation" and phase != "waiting":
        raise KeptRunError(f"Run {name} is under way: ask it without --run, or at the owner's page /autopsy.")
    if language not in settings.languages:
        language = settings.languages[0]
    adapters = {
        source.iteration: source.adapter for source in sources if source.adapter and source.iteration is not None
    }
    return KeptRun(name, language, settings, sources[0].folder, adapters)


def _phase(folder: Path) -> str:
    with closing(sqlite3.connect(f"file:{quote(str(folder / 'run.sqlite'))}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT phase FROM run").fetchone()
    return str(row[0]) if row else ""
