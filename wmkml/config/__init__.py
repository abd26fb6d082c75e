"""The settings, the only reader of `config.yaml`: `load_settings(path)` gives typed, checked `Settings`.

`schema.py` names every key; `loading.py` reads files and tells what is wrong in them.  Knows nothing of the machine.
"""

from wmkml.config.loading import OVERLAY_NAME, UNDERSTUDY, ConfigError, allowed, differences, dump, load_settings
from wmkml.config.schema import Finetuning, General, Inference, Settings, sections

__all__ = [
    "OVERLAY_NAME",
    "UNDERSTUDY",
    "ConfigError",
    "Finetuning",
    "General",
    "Inference",
    "Settings",
    "allowed",
    "differences",
    "dump",
    "load_settings",
    "sections",
]
