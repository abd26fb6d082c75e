"""The two files of an adapter in PEFT's format, and the hash that identifies its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""All files of an adapter."""


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing_file(folder: Path) -> str | None:
    """The first of ADAPTER_FILES that a folder lacks; None if it has both."""
    return next((name for name in ADAPTER_FILES if not (folder / name).is_file()), None)
