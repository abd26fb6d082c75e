"""The frozen base model of training: loaded once, in the precision that this device can hold and is fast in.

Knows model folders and devices; knows nothing of adapters, samples or rounds.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wmkml.prompting import load_tokenizer

Precision = Literal["auto", "bfloat16", "float32", "nf4"]
Held = Literal["bfloat16", "float32", "nf4"]

SPARE = 4 * 2**30
"""Bytes of a GPU that activations, optimizer and CUDA itself need beside the weights, at the least."""


class BaseMissing(RuntimeError):
    """The model's folder holds no model that can be trained.  Its text says which folder and what to do."""


@dataclass(frozen=True)
class Base:
    """A frozen base model, its tokenizer, and how it is held.

    Attributes:
        autocast: what matrix products are computed in; None: float32.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    device: torch.device
    precision: Held
    autocast: torch.dtype | None


def load_base(folder: Path, precision: Precision = "auto", device: torch.device | None = None) -> Base:
    """Load the model in `folder`, without the network, onto a device: the first GPU there is, else the CPU.

    `bfloat16` on a CPU keeps float32 weights and computes in bfloat16.  `auto`: on a GPU bfloat16, or nf4 where that
    does not fit; on a CPU bfloat16 where it has tiles for it (AMX), else float32, which is faster without them.

    Raises:
        BaseMissing: no model there, or nf4 asked of a machine that has no bitsandbytes or no GPU.
    """
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise BaseMissing(f"{folder} holds no model (no config.json). Fetch it with download_model.py.")
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    held = chosen_precision(folder, precision, device)
    options: dict[str, Any] = {"local_files_only": True}
    if held == "nf4":
        options |= {"quantization_config": _nf4(), "device_map": {"": device}, "dtype": torch.bfloat16}
    else:
        on_gpu = held == "bfloat16" and device.type == "cuda"
        options["dtype"] = torch.bfloat16 if on_gpu else torch.float32
    if attention := attention_for(device, held == "bfloat16"):
        options["attn_implementation"] = attention
    model = AutoModelForCausalLM.from_pretrained(str(folder), **options)
    if held != "nf4":
        model = model.to(device)
    model.requires_grad_(False)
    model.config.use_cache = False
    # The LoRA is float32 always; its products are computed as the base's are.
    autocast = None if held == "float32" else torch.bfloat16
    return Base(model, load_tokenizer(folder), folder, device, held, autocast)


def chosen_precision(folder: Path, precision: Precision, device: torch.device) -> Held:
    """What `auto` means for this model on this device.

    Raises:
        BaseMissing: nf4 was asked for and there is no GPU.
    """
    if precision == "nf4" and device.type != "cuda":
        raise BaseMissing("finetuning.precision: nf4 needs an NVIDIA GPU; this worker has none. Use auto.")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "bfloat16" if torch.cpu._is_amx_tile_supported() else "float32"
    free, _ = torch.cuda.mem_get_info(device)
    return "bfloat16" if 2 * parameters_of(folder) + SPARE <= free else "nf4"


def attention_for(device: torch.device, bfloat16: bool) -> str | None:
    """The kind of attention that trains fast there, in transformers' words; None: its own choice.

    On a CPU the fused one's backward pass is slow in bfloat16 and fast in float32 (`benchmarks/attention.py`).
    """
    return "eager" if device.type == "cpu" and bfloat16 else None


def parameters_of(folder: Path) -> int:
    """How many numbers the model's safetensors files hold, read from their headers alone."""
    count = 0
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            size = 1
            for side in tensor["shape"]:
                size *= side
            count += size
    return count


def _nf4() -> Any:
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise BaseMissing("This GPU is too small for bfloat16, and nf4 needs bitsandbytes. pip install bitsandbytes.")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
