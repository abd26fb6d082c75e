"""Which files a model needs: the choice among a hub repository's files, and whether a folder is complete.

Reads names and headers of files, never weights.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path

UNFINISHED = ".download"
"""Name of a folder in a model's folder: it exists while a download is under way, and after one was interrupted."""

_CONFIG_FILES = re.compile(
    r"(config|generation_config|preprocessor_config|processor_config|special_tokens_map|added_tokens"
    r"|tokenizer|tokenizer_config|vocab|chat_template|tekken)\.json"
    r"|chat_template\.jinja|tokenizer\.model(\.v\d+)?|merges\.txt|vocab\.txt"
)
"""Names of all files that transformers and vLLM may read besides the weights."""

_TOKENIZER_FILE = re.compile(r"[\w.-]+\.(model|tiktoken|spm|bpe)|(tokenization|configuration|modeling)_\w+\.py|LICENSE.*")
"""Names of a tokenizer of another kind, of a model's own code, and of its terms."""

TEKKEN = "tekken.json"
"""The vocabulary of Mistral's newer tokenizers in their own format."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What a repository with an adapter alone holds, in PEFT's form."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", TEKKEN, "vocab.json", "vocab.txt")
WEIGHTS_INDEX = "model.safetensors.index.json"
"""Names the weights' files of transformers' kind, where there are several."""
_SINGLE = "model.safetensors"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_MISTRAL_OWN = re.compile(r"consolidated.*\.safetensors")


def is_configuration(name: str) -> bool:
    """Whether a file of this name, beside a model's weights, says how it is used: configuration, tokenizer, template, code."""
    return _CONFIG_FILES.fullmatch(name) is not None or _TOKENIZER_FILE.fullmatch(name) is not None


def folder_of(model_id: str, models_folder: Path) -> Path:
    """The folder of a hub's model: `<models_folder>/<org>--<name>`.  The id is not checked."""
    return models_folder / model_id.replace("/", "--")


def needed_files(names: Iterable[str]) -> list[str]:
    """The files of a repository that the model needs, small ones first and the weights last.

    The weights are one set of safetensors: the shards of the index, else the single file, else all other safetensors
    except Mistral's `consolidated.safetensors`, which hold the same weights in another layout.  The result may lack
    weights or `config.json`; then the repository holds no usable model, which is the caller's to check.
    """
    present = {name for name in names if "/" not in name and "\\" not in name}
    config_files = sorted(name for name in present if _CONFIG_FILES.fullmatch(name))
    shards = sorted(name for name in present if _SHARD.fullmatch(name))
    if WEIGHTS_INDEX in present and shards:
        return [*config_files, WEIGHTS_INDEX, *shards]
    if _SINGLE in present:
        return [*config_files, _SINGLE]
    others = (name for name in present if name.endswith(".safetensors") and not _MISTRAL_OWN.fullmatch(name))
    return [*config_files, *sorted(others)]


def is_complete(folder: Path) -> bool:
    """Whether a model can be started from this folder, as far as names and headers show.

    It holds `config.json`, a tokenizer and all safetensors files that belong together, none of them truncated, and no
    download into it is under way or was interrupted.  The model need not have come from the hub.
    """
    if (folder / UNFINISHED).exists() or not (folder / "config.json").is_file():
        return False
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return False
    try:
        weights = weight_files(folder)
        return bool(weights) and all(_is_untruncated(folder / name) for name in weights)
    except (ValueError, KeyError, TypeError):
        # An index or header that cannot be parsed is truncated.
        return False


def weight_files(folder: Path) -> list[str]:
    """The names of the safetensors files that hold the model's weights; some of them may be missing.

    Raises:
        ValueError, KeyError, TypeError: the index of the weights cannot be parsed.
    """
    if (folder / WEIGHTS_INDEX).is_file():
        index = json.loads((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))
        return sorted(set(index["weight_map"].values()))
    if (folder / _SINGLE).is_file():
        return [_SINGLE]
    # Shards without their index are left out: some of them might be missing.
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    return [name for name in names if not _SHARD.fullmatch(name) and not _MISTRAL_OWN.fullmatch(name)]


def present_weights(folder: Path) -> list[Path]:
    """The files of the model's weights that are there; none if the index cannot be read."""
    try:
        names = weight_files(folder)
    except (ValueError, KeyError, TypeError, OSError):
        return []
    return [folder / name for name in names if (folder / name).is_file()]


def has_own_format_only(folder: Path) -> bool:
    """Whether the folder has Mistral's `consolidated.safetensors` and no weights that transformers reads."""
    try:
        read_by_transformers = weight_files(folder)
    except (ValueError, KeyError, TypeError):
        return False
    return not read_by_transformers and any(_MISTRAL_OWN.fullmatch(path.name) for path in folder.glob("*.safetensors"))


def has_tekken_only(folder: Path) -> bool:
    """Whether `tekken.json`, of Mistral's own format, is the only tokenizer in the folder."""
    present = [name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    return present == [TEKKEN]


def has_chat_template(folder: Path) -> bool:
    """Whether a file of the folder brings a chat template."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        return "chat_template" in json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _is_untruncated(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says.

    Format: 8 bytes with the length of the header, the header in JSON, then the tensors.
    """
    if not path.is_file() or (size := path.stat().st_size) < 8:
        return False
    with path.open("rb") as file:
        length = int(struct.unpack("<Q", file.read(8))[0])
        if 8 + length > size:
            return False
        header = json.loads(file.read(length))
    ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    return size == 8 + length + max(ends, default=0)
