"""The arguments that every program of the installation shares (`--config --model --engine --set`), and their settings.

The model depends on the machine: without a GPU and without `--model` the understudy runs.  The engine stays as
configured: `auto` is resolved by `wmkml.engine.choice` in the programs that serve a model, because the launcher hides
the GPUs from all other processes, to which an engine that needs them would seem to be missing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wmkml.config import UNDERSTUDY, ConfigError, Settings, load_settings, sections
from wmkml.config.paths import PROJECT, SHIPPED_OVERLAY
from wmkml.system.gpus import GpusUnknownError, visible_gpus

ENGINES = ("auto", "vllm", "transformers", "remote")


@dataclass(frozen=True)
class ResolvedSettings:
    """The final settings, the folder that their relative paths start from, and notices for the operator."""

    settings: Settings
    root: Path
    notices: tuple[str, ...]


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, `--model`, `--engine` and `--set` to a parser."""
    group = parser.add_argument_group("settings")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="the config file (default: config.yaml beside master_script.sh)"
    )
    group.add_argument(
        "--model", metavar="PATH_OR_ID", help=f"the model that dies: a folder, a hub id, or {UNDERSTUDY}"
    )
    group.add_argument(
        "--engine", choices=ENGINES, help="what turns messages into tokens; auto: vLLM if it is installed"
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="SECTION.KEY=VALUE",
        help="one setting, over the config file; the value is YAML; may be given several times",
    )


def settings_of(arguments: argparse.Namespace) -> tuple[Settings, Path]:
    """The settings and the folder that their relative paths start from.

    Errors are printed and end the program with status 2, as those of `argparse` do; notices go to standard error.
    """
    try:
        resolved = resolve_arguments(arguments, gpus=bool(visible_gpus()))
    except (ConfigError, GpusUnknownError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    for notice in resolved.notices:
        print(notice, file=sys.stderr)
    return resolved.settings, resolved.root


def resolve_arguments(arguments: argparse.Namespace, *, gpus: bool) -> ResolvedSettings:
    """The settings that the arguments and the config file give; `gpus`: this machine has some.

    Raises:
        ConfigError: a file, a key or a value is wrong.
    """
    path = arguments.config
    if path is None and (PROJECT / "config.yaml").is_file():
        path = PROJECT / "config.yaml"
    root = path.resolve().parent if path is not None else PROJECT
    overrides = {} if not arguments.settings else _overrides(arguments.settings)
    if arguments.engine is not None:
        overrides["inference.engine"] = arguments.engine
    model = arguments.model or overrides.pop("general.model_name", None)
    if model is not None and not isinstance(model, str):
        raise ConfigError(f"--set general.model_name: {model!r} is not allowed; allowed: a text.")

    settings = load_settings(path, model=model, overrides=overrides, overlay=SHIPPED_OVERLAY if path is None else None)
    notices = []
    if model is None and not gpus and (wanted := settings.general.model_name) != UNDERSTUDY:
        # The file was written for another model, so the project's overlay is applied even where none lies beside the
        # file. Not where the understudy is named: the settings file that the launcher writes holds its values already.
        settings = load_settings(path, model=UNDERSTUDY, overrides=overrides, overlay=SHIPPED_OVERLAY)
        notices.append(
            f"There is no GPU: the understudy runs in place of {wanted} (--model runs another all the same)."
        )
    return ResolvedSettings(settings, root, tuple(notices))


def _overrides(words: list[str]) -> dict[str, Any]:
    """The values of `section.key=value` words by dotted key, read as YAML."""
    overrides: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        _section, dot, name = key.partition(".")
        if not equals or not dot or not name:
            known = ", ".join(sections())
            raise ConfigError(f"--set {key}: is not section.key=value (sections: {known}).")
        try:
            overrides[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key}: the value is not YAML; put it in quotes.") from None
    return overrides
