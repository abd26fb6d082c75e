"""Which adapters may be served: PEFT's LoRA format, finite, of the right rank, made for this base model.

A refusal is cheap here and costly later: a NaN that is served poisons vLLM's cache for healthy requests too, and a
module that is not there ends the engine.  Knows files, and nothing of engines under way.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from wmkml.engine.protocol import Adapter, AdapterRefused

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

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
"""Settings of PEFT that not every engine can serve, and the values that mean they are not used."""


MOST = 1e6
"""The largest max|A|, max|B| and max|A|·max|B|·rank·scale that is served.

Training never comes near: AdamW moves a weight by about its learning rate a step, 3.2 times that at the very most, so
that 100 rounds of 24 steps at 0.012 reach |A|, |B| < 100 and a product of 320,000 at rank 16 and scale 2; a language is
destroyed long before.  And what is below it stays finite: with it a layer of 14,336 inputs of 1,000 yields 1e13, two of
those multiplied 1e26, and float32 and bfloat16 end at 3e38.  (float16 ends at 65,504; no bound could save it.)
"""


@dataclass(frozen=True)
class Expectation:
    """What an adapter must look like: its rank, and (out, in) of the base model's linear layers by module name."""

    rank: int
    shapes: Mapping[str, tuple[int, int]]


def check_adapter(folder: Path, expectation: Expectation) -> None:
    """Read an adapter whole and return if it may be served; some milliseconds.

    Raises:
        AdapterRefused: a sentence that says what is wrong with it.
    """
    if not folder.exists():
        raise AdapterRefused("There is no folder at that path.")
    if not folder.is_dir():
        raise AdapterRefused("That path is a file; an adapter is a folder in PEFT's format.")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise AdapterRefused(f"The folder holds no {name}, so it is no adapter in PEFT's format.")
    scale = _checked_scale(folder / CONFIG, expectation.rank)
    try:
        with safe_open(str(folder / WEIGHTS), framework="pt") as weights:
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError) as error:
        raise AdapterRefused(f"{WEIGHTS} is truncated or no safetensors file ({type(error).__name__}).") from None
    _check_tensors(tensors, expectation)
    _check_size(tensors, expectation.rank, scale)


def _checked_scale(path: Path, expected: int) -> float:
    """Check the configuration; returns the factor of B·A."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        raise AdapterRefused(f"{CONFIG} is not JSON.") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterRefused(f"{CONFIG} does not describe a LoRA (peft_type must be LORA).")
    for key, unused in _UNSUPPORTED.items():
        if config.get(key) not in unused:
            raise AdapterRefused(f"{CONFIG} uses {key}, which cannot be served; train a plain LoRA.")
    rank = config.get("r")
    if rank != expected:
        told = rank if isinstance(rank, int) else "none"
        raise AdapterRefused(f"The adapter's rank is {told}; it must be {expected} (finetuning.lora_r).")
    targets, alpha = config.get("target_modules"), config.get("lora_alpha")
    if not isinstance(targets, str) and not (
        isinstance(targets, list) and all(isinstance(one, str) for one in targets)
    ):
        raise AdapterRefused(f"{CONFIG}: target_modules must be a list of modules' names.")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise AdapterRefused(f"{CONFIG}: lora_alpha must be a number.")
    return float(alpha) / (math.sqrt(expected) if config.get("use_rslora") else expected)


def _check_tensors(tensors: Mapping[str, torch.Tensor], expectation: Expectation) -> None:
    import torch  # takes seconds, and a service has a port to take before

    rank, shapes = expectation.rank, expectation.shapes
    sides: dict[str, set[str]] = {}
    for name, tensor in tensors.items():
        match = _KEY.fullmatch(name)
        if match is None:
            raise AdapterRefused(f"{WEIGHTS} holds {name[:120]}, which is no LoRA weight.")
        module, side = match["module"], match["side"]
        if module not in shapes:
            raise AdapterRefused(
                f"The base model has no module {module[:120]}: the adapter was made for another model."
            )
        out, into = shapes[module]
        expected = (rank, into) if side == "A" else (out, rank)
        if tuple(tensor.shape) != expected:
            raise AdapterRefused(
                f"{module}.lora_{side} has the shape {tuple(tensor.shape)}; it must be {expected}: "
                "the adapter has another rank or was made for another model."
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise AdapterRefused(f"{module}.lora_{side} holds numbers that are not finite (NaN or infinite).")
        sides.setdefault(module, set()).add(side)
    if not sides:
        raise AdapterRefused(f"{WEIGHTS} holds no weights.")
    for module, there in sides.items():
        if len(there) == 1:
            raise AdapterRefused(f"{module} has only one of lora_A and lora_B.")


def _check_size(tensors: Mapping[str, torch.Tensor], rank: int, scale: float) -> None:
    largest = {name: float(tensor.abs().max()) for name, tensor in tensors.items()}
    for name, of_a in largest.items():
        if ".lora_A." not in name:
            continue
        of_b = largest[name.replace(".lora_A.", ".lora_B.")]
        if max(of_a, of_b, of_a * of_b * rank * abs(scale)) > MOST:
            raise AdapterRefused(
                f"{name.removesuffix('.lora_A.weight')[:120]} holds numbers so large that answers would overflow: "
                "this is no trained adapter."
            )


class LoadedAdapters:
    """The adapters an engine has, and every name, id and path it ever had: each is used once in an engine's life."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._loaded: dict[int, Adapter] = {}
        self._used: set[str | int | Path] = set()

    def __len__(self) -> int:
        return len(self._loaded)

    def __contains__(self, adapter: Adapter) -> bool:
        return self._loaded.get(adapter.id) == adapter

    def check_free(self, adapter: Adapter) -> None:
        """Return if this adapter can be added.

        Raises:
            AdapterRefused: its name, id or path was used before, or no place is left.
        """
        if self._used.intersection((adapter.name, adapter.id, adapter.path)):
            raise AdapterRefused("An adapter of this name, id or path was loaded before; each is used only once.")
        if len(self._loaded) >= self._places:
            raise AdapterRefused(f"All {self._places} places for adapters are taken; unload some first.")

    def add(self, adapter: Adapter) -> None:
        """Note that this adapter is being loaded."""
        self._used |= {adapter.name, adapter.id, adapter.path}
        self._loaded[adapter.id] = adapter

    def remove(self, adapter: Adapter) -> None:
        """Note that it is gone.

        Raises:
            AdapterRefused: it is not loaded.
        """
        self.check_loaded(adapter)
        del self._loaded[adapter.id]

    def check_loaded(self, adapter: Adapter | None) -> None:
        """Return if this adapter (or None, the base model) may be named in a generation.

        Raises:
            AdapterRefused: it is not loaded.
        """
        if adapter is not None and adapter not in self:
            raise AdapterRefused("This adapter is not loaded.")
