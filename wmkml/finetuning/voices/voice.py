"""An artist's voice: an adapter that is merged into the base before anything starts, so that it is iteration −1.

Engine and worker load the merged model like any other: rounds train on from the voice, and a rebirth comes back to it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE, missing_file, sha256_of
from wmkml.config import ConfigError
from wmkml.config.arguments import ResolvedSettings
from wmkml.config.paths import PROJECT, Paths, paths_of
from wmkml.models.files import is_complete
from wmkml.models.fingerprint import model_fingerprint


def voices_folder(paths: Paths) -> Path:
    """Holds a merged model's folder for each voice and base that was ever started; each may be deleted while it is not used."""
    return paths.data / "voices"


def merged_folder(paths: Paths, adapter: Path) -> Path:
    """The folder of the base with this adapter merged into it, by the contents of both.

    Raises:
        OSError: one of them cannot be read.
    """
    digest = hashlib.sha256(model_fingerprint(paths.model).encode())
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        digest.update(sha256_of(adapter / name).encode())
    return voices_folder(paths) / f"{adapter.resolve().name}-{digest.hexdigest()[:16]}"


def check_voice(adapter: Path) -> None:
    """Refuse what is no adapter.

    Raises:
        ConfigError: a sentence for the operator.
    """
    if not adapter.is_dir():
        raise ConfigError(f"--adapter {adapter}: there is no such folder.")
    if (missing := missing_file(adapter)) is not None:
        raise ConfigError(
            f"--adapter {adapter}: it holds no {missing}, so it is no adapter in PEFT's format. "
            "What `wmkml finetune --merge` or --full wrote is a whole model: start it with --model."
        )


def with_voice(resolved: ResolvedSettings, adapter: Path, config: Path | None) -> ResolvedSettings:
    """The same settings with the merged model in place of the base; fetches and merges first where that was not done yet.

    Args:
        config: the config file, for the download.

    Raises:
        ConfigError: the adapter, or the base, cannot be used.
    """
    check_voice(adapter)
    paths, name = paths_of(resolved.settings, resolved.root), resolved.settings.general.model_name
    if not is_complete(paths.model):
        given = ["--config", str(config)] if config is not None else []
        _run([sys.executable, str(PROJECT / "download_model.py"), name, *given], f"{name} could not be fetched.")
    try:
        folder = merged_folder(paths, adapter)
    except OSError as error:
        raise ConfigError(
            f"--adapter {adapter}: {error.filename or adapter} cannot be read ({error.strerror})."
        ) from None
    if not is_complete(folder):
        print(f"Merging {adapter} into {name}: {folder}", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "wmkml",
            "merge",
            str(adapter),
            "--model",
            str(paths.model),
            "--out",
            str(folder),
        ]
        _run(command, f"--adapter {adapter}: it could not be merged into {name}.")
    general = resolved.settings.general.model_copy(update={"model_name": str(folder)})
    notice = f"{adapter.resolve().name} is merged into {name}: it is iteration −1, and every run comes back to it."
    return replace(
        resolved,
        settings=resolved.settings.model_copy(update={"general": general}),
        notices=(*resolved.notices, notice),
    )


def _run(command: list[str], problem: str) -> None:
    if subprocess.run(command, cwd=PROJECT, stdin=subprocess.DEVNULL, check=False).returncode:
        raise ConfigError(problem)
