"""The settings file that every process of a cluster reads: decided, with absolute folders, for its owner's eyes alone."""

from __future__ import annotations

import os
from pathlib import Path

from wmkml.cluster.ports import free_port
from wmkml.config import UNDERSTUDY, Settings, dump
from wmkml.places import Places


def with_absolute_places(settings: Settings, where: Places) -> Settings:
    """The same settings wherever they are read from; a port 0 becomes a free one."""
    general = settings.general
    of_hub = where.model.parent == where.models
    update = {
        "data_folder": str(where.data),
        "models_folder": str(where.models),
        "datasets_folder": str(where.datasets),
        "stage_folder": str(where.stage),
        "model_name": general.model_name if general.model_name == UNDERSTUDY or of_hub else str(where.model),
        "owner_port": general.owner_port or free_port(),
        "inference_port": general.inference_port or free_port(),
    }
    return settings.model_copy(update={"general": general.model_copy(update=update)})


def write_settings(settings: Settings, where: Places) -> Path:
    """Write `<data>/settings.yaml`, readable by its owner alone since it may hold a token; whole or not at all."""
    where.data.mkdir(parents=True, exist_ok=True)
    path, temporary = where.data / "settings.yaml", where.data / "settings.yaml.new"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(dump(settings))
    temporary.replace(path)
    return path
