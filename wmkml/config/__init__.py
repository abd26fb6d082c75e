"""The settings: `load_settings(path)` reads `config.yaml`, as nothing else does, into typed, checked `Settings`.

`sections/` declares every key, `schema.py` puts the sections together, `loading.py` reads the files and explains what is
wrong in them, `arguments.py` adds the command line, and `paths.py`, `addresses.py` and `cpu_threads.py` derive from the
settings what several services need.
"""

from wmkml.config.loading import (
    OVERLAY_NAME,
    UNDERSTUDY,
    ConfigError,
    describe_allowed,
    dump,
    load_settings,
    non_default_settings,
)
from wmkml.config.schema import Settings, sections
from wmkml.config.sections.finetuning import Finetuning
from wmkml.config.sections.general import General
from wmkml.config.sections.inference import Inference

__all__ = [
    "OVERLAY_NAME",
    "UNDERSTUDY",
    "ConfigError",
    "Finetuning",
    "General",
    "Inference",
    "Settings",
    "describe_allowed",
    "dump",
    "load_settings",
    "non_default_settings",
    "sections",
]
