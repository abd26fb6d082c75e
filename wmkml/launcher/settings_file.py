"""The settings file that every process of a cluster reads: everything decided, folders absolute, readable by its owner alone."""

from __future__ import annotations

import os
from pathlib import Path

from wmkml.config import Settings, dump
from wmkml.config.paths import Paths, with_absolute_folders
from wmkml.system.ports import free_port


def with_folders_and_ports(settings: Settings, paths: Paths) -> Settings:
    """The same settings with absolute folders; a port 0 becomes a free one."""
    settings = with_absolute_folders(settings, paths)
    general = settings.general
    update = {
        "owner_port": general.owner_port or free_port(),
        "inference_port": general.inference_port or free_port(),
    }
    return settings.model_copy(update={"general": general.model_copy(update=update)})


def write_settings(settings: Settings, paths: Paths) -> Path:
    """Write `<data>/settings.yaml` atomically, readable by its owner alone since it may hold a token."""
    paths.data.mkdir(parents=True, exist_ok=True)
    path, temporary = paths.data / "settings.yaml", paths.data / "settings.yaml.new"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(dump(settings))
    temporary.replace(path)
    return path
