"""The number format in which a model's folder holds its weights, what a weight takes in memory, and what training needs.  Imports no heavy library."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

BYTES_A_WEIGHT = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "nf4": 0.53}
"""In memory, by number format; nf4 with its doubly quantized scales."""

TRAINED_BY = {"awq": ("gptqmodel",), "gptq": ("optimum", "gptqmodel")}
"""By number format: the packages with which transformers computes on such weights; without them it only says ImportError."""


def stored_format(folder: Path) -> str | None:
    """The format by the folder's config.json, as `awq`; None: 16 or 32 bits, or there is no such file."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        method = (config.get("quantization_config") or {}).get("quant_method")
    except (OSError, ValueError, AttributeError):
        return None
    return str(method) if method else None


def training_problem(folder: Path, configured: str = "auto") -> str | None:
    """Why nothing can be trained on a model here, with the command that mends it; None: something can.

    Args:
        folder: of the model; it may not be here yet.
        configured: `inference.quantization`, which names the format of a model that is not here.
    """
    number_format = stored_format(folder) or configured
    missing = [name for name in TRAINED_BY.get(number_format, ()) if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"The weights of {folder} are in {number_format}, and training computes on them with {' and '.join(missing)}, which "
        f"{'are' if len(missing) > 1 else 'is'} not installed. Install: env/bin/python -m pip install {' '.join(missing)}; or "
        "take the same model in 16 bits, with inference.quantization: fp8 and finetuning.precision: nf4 where memory is short."
    )
