"""Liger's kernels (RMSNorm, SwiGLU, RoPE) in a loaded model, and out of it again.

They fuse what lies between the matrix products.  Its cross-entropy is left out: `wmkml.training.loss` does the same.
`wmkml.training.kernels.choice` decides and checks; liger-kernel is installed on machines with an NVIDIA GPU only.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from wmkml.training.base_model import FrozenBase

WANTED = {"rope": False, "rms_norm": True, "swiglu": True, "cross_entropy": False, "fused_linear_cross_entropy": False}
"""As Liger names them.  RoPE is put in here, by `_rotation`: Liger's own way compiles it anew for each number of rows."""


@dataclass(frozen=True)
class AppliedLiger:
    """What Liger put into a model: attributes of its modules, and names of the Python module its class is from."""

    attributes: tuple[tuple[torch.nn.Module, frozenset[str]], ...]
    source: Any
    names: dict[str, Any]

    def undo(self) -> None:
        """Leave the model as it was."""
        for module, names in self.attributes:
            for name in names:
                module.__dict__.pop(name, None)
        vars(self.source).update(self.names)


def refusal(base: FrozenBase) -> str | None:
    """Why Liger's kernels cannot be used with this model on this device, before anything is tried; None: they can."""
    if base.device.type != "cuda":
        return "no CUDA"
    if importlib.util.find_spec("liger_kernel") is None:
        return "liger-kernel is not installed"
    kind = base.model.config.model_type
    return None if kind in _known() else f"it does not know the architecture {kind}"


def apply(model: Any) -> AppliedLiger:
    """Put the kernels into this model instance.

    Only RoPE is a function of the model's Python module, and so of all models of this architecture in the process.
    """
    source: Any = sys.modules[type(model).__module__]
    names = dict(vars(source))
    before = [(module, frozenset(vars(module))) for module in model.modules()]
    function = _known()[model.config.model_type]
    known = inspect.signature(function).parameters
    function(model=model, **{name: wanted for name, wanted in WANTED.items() if name in known})
    # Liger also replaces the classes, for models that are made later; this process makes none with its kernels.
    vars(source).update(names)
    plain = names.get("apply_rotary_pos_emb")
    if "rope" in known and plain is not None:
        source.apply_rotary_pos_emb = _rotation(plain)
    added = tuple((module, frozenset(vars(module)) - attributes) for module, attributes in before)
    return AppliedLiger(added, source, {"apply_rotary_pos_emb": plain} if plain is not None else {})


def _known() -> dict[str, Callable[..., None]]:
    patches: Any = importlib.import_module("liger_kernel.transformers.monkey_patch")
    functions: dict[str, Callable[..., None]] = patches.MODEL_TYPE_TO_APPLY_LIGER_FN
    return functions


def _rotation(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Liger's RoPE for one row, as packed batches and the probe are, and the plain one for others.

    The number of rows is a constant of Liger's kernel, which would be compiled for each one that occurs.
    """
    patches: Any = importlib.import_module("liger_kernel.transformers.rope")
    fused: Callable[..., Any] = patches.liger_rotary_pos_emb

    def rotate(query: torch.Tensor, key: torch.Tensor, *more: Any, **named: Any) -> Any:
        return (fused if query.shape[0] == 1 else plain)(query, key, *more, **named)

    return rotate
