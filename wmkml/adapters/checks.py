"""Checks that an adapter can be served: PEFT's LoRA format, finite, of the right rank, made for this base model.

Whatever passes is loaded into a running engine, where a NaN poisons vLLM's cache for other requests too, and a module
that the base model does not have ends the engine.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE, missing_file

if TYPE_CHECKING:
    import torch

_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")

_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "bias": (None, "none"),
    "lora_bias": (None, False),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "trainable_token_indices": (None, [], {}),
    "layer_replication": (None, []),
}
"""PEFT's settings that not every engine can serve, each with the values that mean it is not used."""

MAX_MAGNITUDE = 1e6
"""The largest max|A|, max|B| and max|A|·max|B|·rank·scale of an adapter that is served.

Training stays below it: AdamW moves a weight by about its learning rate per step and by 3.2 times that at most, so that
100 rounds of 24 steps at 0.012 reach |A|, |B| < 100 and a product of 320,000 at rank 16 and scale 2; a language is
destroyed long before.  Below it results stay finite: a layer with 14,336 inputs of 1,000 yields 1e13, the product of
two such numbers is 1e26, and float32 and bfloat16 reach 3e38.  (float16 reaches 65,504; no useful bound keeps it finite.)
"""


class AdapterRefusedError(ValueError):
    """The adapter must not be served: missing, not in PEFT's format, not finite, wrong rank or another model's."""


@dataclass(frozen=True)
class Expectation:
    """What adapters must fit.

    Attributes:
        rank: of every adapter.
        shapes: (out, in) of the base model's linear layers by module name.
        targets: the names of the layers that the engine has places for adapters in, as `finetuning.lora_target_modules`
            has them; empty: every linear layer.
    """

    rank: int
    shapes: Mapping[str, tuple[int, int]]
    targets: tuple[str, ...] = ()


def check_adapter(folder: Path, expectation: Expectation) -> None:
    """Return if the adapter in `folder` may be served; reads all of it, which takes some milliseconds.

    Raises:
        AdapterRefusedError: with a sentence that says what is wrong.
    """
    if not folder.exists():
        raise AdapterRefusedError("There is no folder at that path.")
    if not folder.is_dir():
        raise AdapterRefusedError("That path is a file; an adapter is a folder in PEFT's format.")
    if (missing := missing_file(folder)) is not None:
        raise AdapterRefusedError(f"The folder holds no {missing}, so it is no adapter in PEFT's format.")
    scale = _check_config(folder / CONFIG_FILE, expectation.rank)
    try:
        with safe_open(str(folder / WEIGHTS_FILE), framework="pt") as weights:
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError) as error:
        raise AdapterRefusedError(
            f"{WEIGHTS_FILE} is truncated or no safetensors file ({type(error).__name__})."
        ) from None
    _check_tensors(tensors, expectation)
    _check_magnitudes(tensors, expectation.rank, scale)


def _check_config(path: Path, expected: int) -> float:
    """Check the adapter's configuration; returns the factor that B·A is multiplied by."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        raise AdapterRefusedError(f"{CONFIG_FILE} is not JSON.") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterRefusedError(f"{CONFIG_FILE} does not describe a LoRA (peft_type must be LORA).")
    for key, unused in _UNSUPPORTED.items():
        if config.get(key) not in unused:
            raise AdapterRefusedError(f"{CONFIG_FILE} uses {key}, which cannot be served; train a plain LoRA.")
    rank = config.get("r")
    if rank != expected:
        shown = rank if isinstance(rank, int) else "none"
        raise AdapterRefusedError(f"The adapter's rank is {shown}; it must be {expected} (finetuning.lora_r).")
    targets, alpha = config.get("target_modules"), config.get("lora_alpha")
    if not isinstance(targets, str) and not (
        isinstance(targets, list) and all(isinstance(name, str) for name in targets)
    ):
        raise AdapterRefusedError(f"{CONFIG_FILE}: target_modules must be a list of modules' names.")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise AdapterRefusedError(f"{CONFIG_FILE}: lora_alpha must be a number.")
    return float(alpha) / (math.sqrt(expected) if config.get("use_rslora") else expected)


def _check_tensors(tensors: Mapping[str, torch.Tensor], expectation: Expectation) -> None:
    import torch  # here, since importing it takes seconds and a service binds its port first

    rank, shapes = expectation.rank, expectation.shapes
    sides: dict[str, set[str]] = {}
    for name, tensor in tensors.items():
        match = _KEY.fullmatch(name)
        if match is None:
            raise AdapterRefusedError(f"{WEIGHTS_FILE} holds {name[:120]}, which is no LoRA weight.")
        module, side = match["module"], match["side"]
        # Some models' files leave out the first part of every name: h.0… for transformer.h.0….
        shape = shapes.get(module) or shapes.get(module.partition(".")[2])
        if shape is None:
            raise AdapterRefusedError(
                f"The base model has no module {module[:120]}: the adapter was made for another model."
            )
        outputs, inputs = shape
        expected = (rank, inputs) if side == "A" else (outputs, rank)
        if tuple(tensor.shape) != expected:
            raise AdapterRefusedError(
                f"{module}.lora_{side} has the shape {tuple(tensor.shape)}; it must be {expected}: "
                "the adapter has another rank or was made for another model."
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise AdapterRefusedError(f"{module}.lora_{side} holds numbers that are not finite (NaN or infinite).")
        sides.setdefault(module, set()).add(side)
    if not sides:
        raise AdapterRefusedError(f"{WEIGHTS_FILE} holds no weights.")
    for module, present in sides.items():
        if len(present) == 1:
            raise AdapterRefusedError(f"{module} has only one of lora_A and lora_B.")
    _check_targets(sides, expectation.targets)


def _check_targets(modules: Iterable[str], targets: tuple[str, ...]) -> None:
    """Refuse an adapter of other layers than the engine has places for: vLLM would leave them out, or fail."""
    # As PEFT matches names: the whole name of a module, or its end behind a dot.
    others = {
        module.rpartition(".")[2]
        for module in modules
        if not any(f".{module}".endswith(f".{target}") for target in targets)
    }
    if targets and others:
        raise AdapterRefusedError(
            f"The adapter changes {', '.join(sorted(others))}; the engine takes adapters of {', '.join(targets)} alone "
            "(finetuning.lora_target_modules). Train it with these, or add the others there and start anew."
        )


def _check_magnitudes(tensors: Mapping[str, torch.Tensor], rank: int, scale: float) -> None:
    largest = {name: float(tensor.abs().max()) for name, tensor in tensors.items()}
    for name, max_a in largest.items():
        if ".lora_A." not in name:
            continue
        max_b = largest[name.replace(".lora_A.", ".lora_B.")]
        if max(max_a, max_b, max_a * max_b * rank * abs(scale)) > MAX_MAGNITUDE:
            raise AdapterRefusedError(
                f"{name.removesuffix('.lora_A.weight')[:120]} holds numbers so large that answers would overflow: "
                "this is no trained adapter."
            )
