"""The arguments every program of the installation shares (`--config --model --engine --set`), and the settings they give.

Decides the two things that depend on the machine: without a GPU and without `--model` the understudy runs, and the
engine `auto` becomes the one that is there.  Knows no service.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wmkml.cluster.machine import Machine, MachineError, detect
from wmkml.config import OVERLAY_NAME, UNDERSTUDY, ConfigError, Settings, load_settings, sections

PROJECT = Path(__file__).resolve().parent.parent.parent
"""The folder with `config.yaml` and the door scripts."""

ENGINES = ("auto", "vllm", "transformers")


@dataclass(frozen=True)
class Resolved:
    """Settings as they will be used, the folder their relative paths start from, and what the operator should be told."""

    settings: Settings
    root: Path
    notices: tuple[str, ...]


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser `--config`, `--model`, `--engine` and `--set`."""
    group = parser.add_argument_group("settings")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="the config file; without it, config.yaml beside master_script.sh"
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

    What is wrong is printed in whole, and the program ends with status 2, as `argparse` does for its own arguments;
    what the operator should know goes to standard error.
    """
    try:
        resolved = resolve(arguments, detect())
    except (ConfigError, MachineError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    for notice in resolved.notices:
        print(notice, file=sys.stderr)
    return resolved.settings, resolved.root


def resolve(arguments: argparse.Namespace, machine: Machine) -> Resolved:
    """The settings for this machine.

    Raises:
        ConfigError: a file, a key or a value is wrong, or the engine that is asked for is not installed.
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

    settings = load_settings(path, model=model, overrides=overrides)
    notices = []
    if model is None and not machine.gpus and (wanted := settings.general.model_name) != UNDERSTUDY:
        # The file was written for the other model, wherever it lies. Not so where the understudy is asked for by name:
        # the settings that every process is given hold its values already.
        settings = load_settings(path, model=UNDERSTUDY, overrides=overrides, overlay=PROJECT / OVERLAY_NAME)
        notices.append(
            f"There is no GPU: the understudy runs in place of {wanted} (--model runs another all the same)."
        )

    engine = settings.inference.engine
    if engine == "vllm" and not machine.vllm:
        raise ConfigError("inference.engine: vllm is not installed here; choose auto or transformers.")
    if engine == "auto":
        inference = settings.inference.model_copy(update={"engine": "vllm" if machine.vllm else "transformers"})
        settings = settings.model_copy(update={"inference": inference})
    return Resolved(settings, root, tuple(notices))


def _overrides(words: list[str]) -> dict[str, Any]:
    """`section.key=value` pairs, the values read as YAML."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        _section, dot, name = key.partition(".")
        if not equals or not dot or not name:
            known = ", ".join(sections())
            raise ConfigError(f"--set {key}: is not section.key=value (sections: {known}).")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key}: the value is not YAML; put it in quotes.") from None
    return found
