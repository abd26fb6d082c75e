"""How large the LoRA's update of the weights is against the weights that it changes, by layer and as a whole.

The update of a linear layer is scale·B·A.  It is as large as the layer's weight W, and is not computed: its Frobenius norm
follows from two matrices of the LoRA's rank, ‖B·A‖² = tr((BᵀB)(A·Aᵀ)).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from peft import PeftModel

from wmkml.training.lora import ADAPTER_NAME

LAYER = re.compile(r"\.(\d+)\.")
"""The number of a layer in a module's name; the first one is that of the model's own list of layers."""


@dataclass(frozen=True)
class UpdateSize:
    """‖scale·B·A‖ / ‖W‖ over all the matrices that the LoRA changes, and over those of each layer, from the first."""

    whole: float
    layers: tuple[float | None, ...]


def base_norms(model: PeftModel) -> dict[str, float]:
    """The squared Frobenius norm of every weight that the LoRA changes, by its module's name.

    They never change: measure them once.  Weights in four or eight bits are read as what they stand for.
    """
    from peft.utils.integrations import dequantize_module_weight

    with torch.no_grad():
        return {name: _squared(dequantize_module_weight(module.base_layer)) for name, module in _lora_layers(model)}


def update_size(model: PeftModel, of_base: Mapping[str, float]) -> UpdateSize:
    """The size of the update that is in the model now; `of_base` comes from `base_norms`.

    A layer that the LoRA does not change has None.
    """
    updates = {name: _squared_update(module) for name, module in _lora_layers(model)}
    by_layer: dict[int, list[str]] = {}
    for name in updates:
        if (number := LAYER.search(name)) is not None:
            by_layer.setdefault(int(number[1]), []).append(name)

    def ratio(names: list[str]) -> float:
        base = sum(of_base[name] for name in names)
        return math.sqrt(sum(updates[name] for name in names) / base) if base else math.nan

    layers = range(max(by_layer, default=-1) + 1)
    return UpdateSize(
        ratio(list(updates)), tuple(ratio(by_layer[number]) if number in by_layer else None for number in layers)
    )


def _lora_layers(model: PeftModel) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and ADAPTER_NAME in module.lora_A:
            yield name, module


def _squared_update(module: Any) -> float:
    with torch.no_grad():
        down, up = module.lora_A[ADAPTER_NAME].weight.double(), module.lora_B[ADAPTER_NAME].weight.double()
        trace = float(((up.T @ up) * (down @ down.T)).sum())
    # Rounding can make the trace of almost nothing negative; NaN stays NaN.
    return float(module.scaling[ADAPTER_NAME]) ** 2 * (0.0 if trace < 0 else trace)


def _squared(weight: torch.Tensor) -> float:
    norm = torch.linalg.vector_norm(weight, dtype=torch.float32)
    # Of a weight of which each rank holds a part, every rank gets the norm of the whole.
    whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return float(whole) ** 2
