"""The frozen base model of training, loaded once, in a precision that fits the device's memory and is fast on it."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.models.stored_format import training_problem

Precision = Literal["auto", "bfloat16", "float32", "nf4", "int8"]
WeightPrecision = Literal["bfloat16", "float32", "nf4", "int8"]

QUANTIZED = ("nf4", "int8")
"""Precisions that need bitsandbytes and an NVIDIA GPU."""

SPARE_GPU_BYTES = 4 * 2**30
"""GPU memory (bytes) kept free for activations, optimizer and CUDA itself; with less, `auto` chooses nf4."""


class BaseMissingError(RuntimeError):
    """The model's folder holds no model that can be trained.  The message says which folder and what to do."""


@dataclass(frozen=True)
class FrozenBase:
    """A frozen base model with its tokenizer.

    Attributes:
        precision: of the weights in memory.
        autocast: data type of the matrix products; None: float32.
        packed: the model can be trained without padding (`wmkml.training.kernels.choice` decides).
        liger: Liger's kernels are in the model (as it decides, too).
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    device: torch.device
    precision: WeightPrecision
    autocast: torch.dtype | None
    packed: bool = False
    liger: bool = False


def load_base(
    folder: Path,
    precision: Precision = "auto",
    device: torch.device | None = None,
    *,
    needs_template: bool = True,
    autocast: torch.dtype | None = None,
) -> FrozenBase:
    """Load the model in `folder`, without the network, onto `device`; None: the first GPU, else the CPU.

    `bfloat16` on a CPU keeps float32 weights and computes in bfloat16.  `auto`: on a GPU bfloat16, or nf4 where that
    does not fit; on a CPU bfloat16 if it has AMX tiles, else float32, which is faster without them.

    Args:
        needs_template: the tokenizer must have a chat template.
        autocast: data type of the products of float32 weights, as when all of them are trained on a GPU.

    Raises:
        BaseMissingError: the folder holds no model, or nf4 or int8 was requested and bitsandbytes or a GPU is missing, or its
            weights are in a format for which packages are missing.
    """
    from transformers import AutoModelForCausalLM

    require_model(folder)
    if problem := training_problem(folder):
        raise BaseMissingError(problem)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = choose_precision(folder, precision, device)
    options: dict[str, Any] = {"local_files_only": True}
    if chosen in QUANTIZED:
        options |= {"quantization_config": quantization_of(chosen), "device_map": {"": device}, "dtype": torch.bfloat16}
    else:
        on_gpu = chosen == "bfloat16" and device.type == "cuda"
        options["dtype"] = torch.bfloat16 if on_gpu else torch.float32
    if attention := fast_attention(device, chosen == "bfloat16"):
        options["attn_implementation"] = attention
    model = AutoModelForCausalLM.from_pretrained(str(folder), **options)
    if chosen not in QUANTIZED:
        model = model.to(device)
    model.requires_grad_(False)
    model.config.use_cache = False
    # The LoRA's weights are always float32; its products are computed in the base's data type.
    computed = autocast if chosen == "float32" else torch.bfloat16
    tokenizer = load_tokenizer(folder, needs_template=needs_template)
    return FrozenBase(model, tokenizer, folder, device, chosen, computed)


def window_of(model: PreTrainedModel, otherwise: int = 2048) -> int:
    """The longest text the model reads, in tokens; `otherwise` where its positions have no end, as BLOOM's."""
    return int(getattr(model.config, "max_position_embeddings", None) or otherwise)


def require_model(folder: Path) -> None:
    """Return if the folder holds a model.

    Raises:
        BaseMissingError: it does not.
    """
    if not (folder / "config.json").is_file():
        raise BaseMissingError(f"{folder} holds no model (no config.json). Fetch it with `python -m wmkml download`.")


def choose_precision(folder: Path, precision: Precision, device: torch.device) -> WeightPrecision:
    """Resolve `auto` for this model on this device.

    Raises:
        BaseMissingError: nf4 or int8 was requested and there is no GPU.
    """
    if precision in QUANTIZED and device.type != "cuda":
        raise BaseMissingError(
            f"{precision} needs an NVIDIA GPU; there is none here. Use auto (finetuning.precision, or --quantize none)."
        )
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "bfloat16" if device.type == "cpu" and torch.cpu._is_amx_tile_supported() else "float32"
    free, _ = torch.cuda.mem_get_info(device)
    return "bfloat16" if 2 * count_parameters(folder) + SPARE_GPU_BYTES <= free else "nf4"


def fast_attention(device: torch.device, bfloat16: bool) -> str | None:
    """The `attn_implementation` of transformers that trains fastest on this device; None: its default.

    On a CPU the backward pass of fused attention is slow in bfloat16 and fast in float32 (`benchmarks/attention.py`).
    """
    return "eager" if device.type == "cpu" and bfloat16 else None


def count_parameters(folder: Path) -> int:
    """The number of parameters in the model's safetensors files, read from their headers alone."""
    count = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        count += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return count


def quantization_of(precision: WeightPrecision) -> Any:
    """How transformers loads weights as nf4 or int8.

    Raises:
        BaseMissingError: bitsandbytes is missing.
    """
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise BaseMissingError(
            f"{precision}, for a GPU that is too small for bfloat16, needs bitsandbytes. pip install bitsandbytes."
        )
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
