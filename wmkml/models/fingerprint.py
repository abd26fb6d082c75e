"""A short hash that two folders with the same model share, quick enough to be taken of a large one at every start."""

from __future__ import annotations

import hashlib
from pathlib import Path

SAMPLES = 64
"""Parts of each weights file that are read, evenly spread: another finetune of a model differs in nearly every weight."""

SAMPLE_BYTES = 64 * 1024

CONFIG_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tekken.json")


def model_fingerprint(folder: Path) -> str:
    """sha256 in hexadecimal, of the model's configuration, its tokenizer, and 4 MiB at most of each weights file.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for sample in range(SAMPLES):
                file.seek(max(0, size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    for name in CONFIG_FILES:
        if (folder / name).is_file():
            digest.update(name.encode())
            digest.update((folder / name).read_bytes())
    return digest.hexdigest()
