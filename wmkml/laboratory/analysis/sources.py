"""Which models an analysis compares: names of models, adapters, run folders and iterations, as folders on the disk.

understudy           the model that ships with the project
FOLDER               a model, or an adapter in PEFT's form, beside its base (--base, or the one that it names itself)
ORG/NAME             a model or an adapter of the hub, in the models folder; a revision of it in a folder of its own
RUN                  a run's folder: its base model and every iteration
RUN:K                one iteration of it; −1 is its base model
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE, missing_file, sha256_of
from wmkml.config import UNDERSTUDY
from wmkml.config.paths import SHIPPED_MODEL, model_folder
from wmkml.models.files import is_complete
from wmkml.models.fingerprint import model_fingerprint

BASE = -1
"""The iteration that is the untouched base model."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

Fetch = Callable[[str, str, Path], None]
"""Fetches a model of the hub (id, revision) into a folder."""


class SourceError(ValueError):
    """A model cannot be used.  The message says which, why, and what to do."""


@dataclass(frozen=True)
class ModelSource:
    """A causal model, alone or with an adapter.

    Attributes:
        label: what it is called in tables and figures.
        folder: of the model.
        adapter: the adapter's folder; None: the model alone.
        iteration: of a run; None where it is of none.
    """

    label: str
    folder: Path
    adapter: Path | None = None
    iteration: int | None = None

    def identity(self) -> dict[str, str]:
        """What tells whether it is still the same model, for JSON."""
        adapter = sha256_of(self.adapter / WEIGHTS_FILE) if self.adapter else ""
        return {"model": model_fingerprint(self.folder), "adapter": adapter}


@dataclass(frozen=True)
class SourceOptions:
    """Where models are looked for.

    Attributes:
        models: the folder of downloaded models.
        root: relative folders start from here, or from where the command was called.
        base: the model of adapters, as one of the names above; empty: the one that an adapter names itself.
        fetch: how a model of the hub is fetched that is not here; None: it is not.
    """

    models: Path
    root: Path
    base: str = ""
    fetch: Fetch | None = None


def resolve_sources(
    names: Sequence[str], options: SourceOptions, labels: Sequence[str] = (), revisions: Sequence[str] = ()
) -> list[ModelSource]:
    """The models that these names mean, in order.

    Args:
        labels: one for each model, runs taken apart; empty: told by the names.
        revisions: of hub models, one for each name, or one for all; empty ones are the main branch.

    Raises:
        SourceError: one does not exist, or labels do not fit.
    """
    if len(revisions) not in (0, 1, len(names)):
        raise SourceError(f"--revision: {len(revisions)} for {len(names)} models. Give one for all, or one for each.")
    each = [*revisions] if len(revisions) == len(names) else [*revisions, *[""] * len(names)][:1] * len(names)
    sources = [
        source for name, revision in zip(names, each, strict=True) for source in _resolve(name, revision, options)
    ]
    if labels:
        if len(labels) != len(sources):
            called = ", ".join(source.label for source in sources)
            raise SourceError(f"--labels: {len(labels)} names for {len(sources)} models ({called}). Give one for each.")
        sources = [replace(source, label=label.strip()) for source, label in zip(sources, labels, strict=True)]
    doubled = [label for label, count in Counter(source.label for source in sources).items() if count > 1]
    if doubled or any(not source.label for source in sources):
        raise SourceError(
            f"Two models would be called {doubled[0]!r}. Name them: --labels base,tuned." if doubled else
            "--labels: a name is empty."
        )  # fmt: skip
    return sources


def _resolve(name: str, revision: str, options: SourceOptions) -> list[ModelSource]:
    path, iteration = _split(name, options.root)
    if revision and (path is not None or name == UNDERSTUDY):
        raise SourceError(f"--revision {revision}: {name} is a folder here; revisions are those of models of the hub.")
    # What `finetune` leaves is a run's folder, too; its adapter, or its whole model, lies in the folder itself.
    finetuned = path is not None and any((path / file).is_file() for file in (CONFIG_FILE, "config.json"))
    if path is not None and (path / "run.json").is_file() and not finetuned:
        return _of_run(path, iteration, options)
    if iteration is not None:
        raise SourceError(f"{name}: {path} is no run's folder (no run.json), so it has no iteration {iteration}.")
    if path is not None and (path / CONFIG_FILE).is_file():
        return [_of_adapter(path, options)]
    if path is not None and not (path / "config.json").is_file():
        hint = ""
        if seeds := sorted(child.name for child in path.glob("seed-*") if (child / "run.json").is_file()):
            hint = f" It holds runs: give one of them, as {path / seeds[0]}."
        raise SourceError(
            f"{path} holds no model (no config.json), no adapter (no {CONFIG_FILE}) and no run (no run.json).{hint}"
        )
    label = Path(name).name if path is None else path.name
    if name == UNDERSTUDY:
        return [ModelSource(UNDERSTUDY, SHIPPED_MODEL)]
    label = f"{label}@{revision}" if revision else label
    folder = _model(name, revision, options)
    if (folder / CONFIG_FILE).is_file() and not (folder / "config.json").is_file():
        return [replace(_of_adapter(folder, options), label=label)]
    return [ModelSource(label, folder)]


def _split(name: str, root: Path) -> tuple[Path | None, int | None]:
    """The folder that a name means, if there is one, and the iteration behind its colon."""
    for text, iteration in ((name, None), *([(m[1], int(m[2]))] if (m := re.fullmatch(r"(.+):(-?\d+)", name)) else [])):
        for path in (Path(text).expanduser(), root / text):
            if path.is_dir():
                return path.resolve(), iteration
    return None, None


def _model(name: str, revision: str, options: SourceOptions) -> Path:
    """The folder of a model, or of an adapter of the hub, by its name, fetched if need be."""
    folder = model_folder(name, options.models, options.root)
    if revision:
        folder = folder.with_name(f"{folder.name}@{revision.replace('/', '--')}")
    if is_complete(folder) or ((folder / CONFIG_FILE).is_file() and missing_file(folder) is None):
        return folder
    if HUB_ID.fullmatch(name) and not Path(name).is_dir():
        if options.fetch is not None:
            options.fetch(name, revision, folder)
            return folder
        raise SourceError(f"{name} is not here: {folder} holds no model.")
    if (folder / "config.json").is_file():
        raise SourceError(f"{folder}: weights (*.safetensors) or tokenizer are missing or cut off. Fetch it again.")
    raise SourceError(
        f"{name} is no model: there is no such folder, and a model of the hub is named ORG/NAME. "
        "What can be given: docs/analysis.md."
    )


def _of_adapter(path: Path, options: SourceOptions) -> ModelSource:
    if missing := missing_file(path):
        raise SourceError(f"{path} holds no {missing}: it is no adapter in PEFT's form.")
    try:
        config: Any = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
        named = options.base or str(config.get("base_model_name_or_path") or "")
    except (ValueError, AttributeError, OSError):
        raise SourceError(f"{path / CONFIG_FILE} cannot be read as JSON.") from None
    if not named:
        raise SourceError(f"{path} names no base model: give it with --base.")
    try:
        return ModelSource(path.name, _model(named, "", options), path)
    except SourceError as error:
        raise SourceError(f"{path}: its base model: {error} Give it with --base.") from None


def _of_run(path: Path, iteration: int | None, options: SourceOptions) -> list[ModelSource]:
    try:
        about = json.loads((path / "run.json").read_text(encoding="utf-8"))
        model = options.base or str(about["settings"]["general"]["model_name"])
        adapters = _accepted(path)
    except (ValueError, KeyError, TypeError, OSError, sqlite3.Error) as error:
        raise SourceError(f"{path}: run.json or run.sqlite cannot be read ({type(error).__name__}).") from None
    folder = _model(model, "", options)
    sources = [ModelSource("base", folder, None, BASE)]
    sources += [ModelSource(f"iteration {number}", folder, adapter, number) for number, adapter in adapters.items()]
    chosen = [source for source in sources if iteration is None or source.iteration == iteration]
    if not chosen:
        have = ", ".join(str(source.iteration) for source in sources)
        raise SourceError(f"{path} has no iteration {iteration}; it has {have}.")
    for source in chosen:
        if source.adapter is not None and missing_file(source.adapter):
            raise SourceError(f"{source.adapter}: the adapter of iteration {source.iteration} is not there any more.")
    return chosen


def _accepted(path: Path) -> dict[int, Path]:
    """The run's accepted adapters by iteration; beside the run, where they have moved with it."""
    with closing(sqlite3.connect(f"file:{quote(str(path / 'run.sqlite'))}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT iteration, path FROM adapters ORDER BY iteration").fetchall()
    beside = {int(number): path / "adapters" / Path(recorded).name for number, recorded in rows}
    return {int(number): beside[number] if beside[number].is_dir() else Path(recorded) for number, recorded in rows}
