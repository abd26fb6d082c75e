"""What a model's folder must hold: which of a hub repository's files are needed, and whether a folder has them all.

Reads names and file headers, never weights.  Deliberately knows no network (see `download.py`), no torch and no engine.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path

UNFINISHED = ".download"
"""The folder inside a model's folder that exists while a download is under way or was interrupted."""

_DESCRIPTIONS = re.compile(
    r"(config|generation_config|preprocessor_config|processor_config|special_tokens_map|added_tokens"
    r"|tokenizer|tokenizer_config|vocab|chat_template|tekken)\.json"
    r"|chat_template\.jinja|tokenizer\.model(\.v\d+)?|merges\.txt|vocab\.txt"
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt")
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_MISTRAL_OWN = re.compile(r"consolidated.*\.safetensors")


def folder_of(model_id: str, models_folder: Path) -> Path:
    """Where a model of the hub is kept: `<models_folder>/<org>--<name>`.  The id is not checked here."""
    return models_folder / model_id.replace("/", "--")


def needed(names: Iterable[str]) -> list[str]:
    """Of a repository's files, those a model needs, small ones first and the weights last.

    The weights are one set of safetensors: the shards of the index, else the single file, else whatever safetensors
    there are, but not Mistral's `consolidated.safetensors`, the same weights once more in another layout.
    An empty answer for the weights or no `config.json` means that the repository is no model for us: the caller looks.
    """
    present = {name for name in names if "/" not in name and "\\" not in name}
    small = sorted(name for name in present if _DESCRIPTIONS.fullmatch(name))
    shards = sorted(name for name in present if _SHARD.fullmatch(name))
    if _INDEX in present and shards:
        return [*small, _INDEX, *shards]
    if _SINGLE in present:
        return [*small, _SINGLE]
    return [*small, *sorted(n for n in present if n.endswith(".safetensors") and not _MISTRAL_OWN.fullmatch(n))]


def is_complete(folder: Path) -> bool:
    """Whether a model can be started from this folder, as far as can be told without reading the weights.

    It holds `config.json`, a tokenizer and every safetensors file that belongs to it, none of them cut short, and no
    download into it is under way or was interrupted.  It need not have come from the hub.
    """
    if (folder / UNFINISHED).exists() or not (folder / "config.json").is_file():
        return False
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        return False
    try:
        weights = _weights(folder)
        return bool(weights) and all(_whole(folder / name) for name in weights)
    except (ValueError, KeyError, TypeError):
        # An index or a header that cannot be read was not written to its end.
        return False


def _weights(folder: Path) -> list[str]:
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        return sorted(set(index["weight_map"].values()))
    if (folder / _SINGLE).is_file():
        return [_SINGLE]
    # Shards without their index cannot be told from a part of them.
    found = sorted(path.name for path in folder.glob("*.safetensors"))
    return [name for name in found if not _SHARD.fullmatch(name) and not _MISTRAL_OWN.fullmatch(name)]


def _whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its own header says (8 bytes of length, JSON, then the tensors)."""
    if not path.is_file() or (size := path.stat().st_size) < 8:
        return False
    with path.open("rb") as file:
        length = int(struct.unpack("<Q", file.read(8))[0])
        if 8 + length > size:
            return False
        header = json.loads(file.read(length))
    ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    return size == 8 + length + max(ends, default=0)
