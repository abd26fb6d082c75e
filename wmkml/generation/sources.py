"""What a name on the command line means: a model, or an adapter together with the model that it changes.

A name is `understudy`, a model's folder, the id of one that was fetched, an adapter's folder, a folder that holds one (what
`wmkml finetune` writes, a run), or MODEL+ADAPTER.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from wmkml.adapters.files import CONFIG_FILE, missing_file
from wmkml.config import Settings
from wmkml.config.paths import model_folder

INNER_FOLDERS = ("adapter", "model", "merged")
"""Folders in which a training's folder may hold what it made, the first that is there."""

_ITERATION = re.compile(r"iteration-(?P<iteration>\d+)-attempt-(?P<attempt>\d+)")


class SpeakerError(ValueError):
    """A model, adapter, template or device cannot be used.  The message says which, and what to do."""


@dataclass(frozen=True)
class SpeakerSource:
    """What is loaded, and what it is called.

    Attributes:
        model: folder of the base model.
        adapter: folder of a LoRA adapter in PEFT's format; None: the model alone.
    """

    label: str
    model: Path
    adapter: Path | None = None


def find_source(name: str, base: str = "", label: str = "") -> SpeakerSource:
    """What a name means.

    Args:
        base: the model that an adapter changes; empty: the one that its files name.
        label: what it is called; empty: the name.

    Raises:
        SpeakerError: there is no such model or adapter.
    """
    label = label or name
    model_name, plus, adapter_name = name.partition("+")
    if plus and not Path(name).exists():
        adapter = find_adapter(Path(adapter_name))
        if adapter is None:
            raise SpeakerError(_no_adapter(Path(adapter_name)))
        return SpeakerSource(label, _checked_model(model_name), adapter)
    path = Path(name).expanduser()
    if path.is_dir():
        if (adapter := find_adapter(path)) is not None:
            return SpeakerSource(label, _checked_model(base or _base_name(adapter)), adapter)
        inner = next((path / inner for inner in INNER_FOLDERS if (path / inner / "config.json").is_file()), None)
        if inner is not None:
            return SpeakerSource(label, inner)
    return SpeakerSource(label, _checked_model(name))


def with_adapter(model: str, adapter: Path, label: str = "") -> SpeakerSource:
    """A model and the adapter in this folder.

    Args:
        model: its name; empty: the one that the adapter's files name.

    Raises:
        SpeakerError: one of them is missing.
    """
    folder = find_adapter(adapter)
    if folder is None:
        raise SpeakerError(_no_adapter(adapter))
    return SpeakerSource(label or str(adapter), _checked_model(model or _base_name(folder)), folder)


def find_adapter(folder: Path) -> Path | None:
    """The adapter in a folder, or in the folder of a training or a run: of a run the newest iteration's; None: no adapter."""
    folder = folder.expanduser()
    if (folder / CONFIG_FILE).is_file():
        return folder
    for inner in INNER_FOLDERS:
        if (folder / inner / CONFIG_FILE).is_file():
            return folder / inner
    iterations = {
        (int(match["iteration"]), int(match["attempt"])): path
        for path in folder.glob("adapters/iteration-*")
        if (match := _ITERATION.fullmatch(path.name)) and missing_file(path) is None
    }
    return iterations[max(iterations)] if iterations else None


def _no_adapter(path: Path) -> str:
    if not path.expanduser().exists():
        return f"There is no folder {path}. An adapter is a folder in PEFT's format, as `wmkml finetune` writes it."
    return (
        f"{path} holds no adapter ({CONFIG_FILE} is missing). Give the folder that `wmkml finetune` wrote, or a run's."
    )


def _base_name(adapter: Path) -> str:
    """The model that an adapter's files name."""
    if (missing := missing_file(adapter)) is not None:
        raise SpeakerError(f"{adapter} is no whole adapter: {missing} is missing.")
    try:
        config = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
        name = config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        name = None
    if not isinstance(name, str) or not name:
        raise SpeakerError(f"{adapter / CONFIG_FILE} does not name its base model. Name it with --model.")
    return name


def _checked_model(name: str) -> Path:
    root = Path.cwd()
    folder = model_folder(name, root / Settings().general.models_folder, root)
    if (folder / "config.json").is_file():
        return folder
    if (folder / CONFIG_FILE).is_file():
        raise SpeakerError(f"{name} is an adapter, not a model. Give it with --adapter.")
    looks_like_id = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists()
    fetch = f" Fetch it: python -m wmkml download {name}." if looks_like_id else ""
    raise SpeakerError(
        f"There is no model {name}: {folder} holds no config.json.{fetch} Without a network there is the understudy: "
        "--model understudy."
    )
