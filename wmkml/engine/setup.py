"""What both engines are started with, and what a model's own files say of it: window, end tokens, shapes of its layers.

Reads `config.json`, `generation_config.json` and the headers of the weights; loads no weight and imports no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

LONGEST_WINDOW = 4096
"""Tokens; a longer window of the model is not used unless the settings name it, since its cache would take the memory."""


class ModelUnusable(ValueError):
    """The model's folder cannot be served.  Its text is fit for an operator."""


@dataclass(frozen=True)
class EngineSetup:
    """How an engine is started.

    Attributes:
        model: folder of the base model in Hugging Face's form.
        window: longest prompt and answer together, in tokens; 0: the model's own, at most LONGEST_WINDOW.
        adapters: how many adapters may be loaded at a time.
        rank: the rank every adapter has.
        sequences: answers generated at a time.
        batched_tokens: prompt tokens read in one step.
        threads: CPU threads; 0: as the library chooses.
        kv_cache_gib: of vLLM on a CPU.
        gpu_share: of each GPU's memory, for vLLM.
        replicas: vLLM's data parallelism.
    """

    model: Path
    adapters: int
    rank: int
    window: int = 0
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    sequences: int = 64
    batched_tokens: int = 64
    threads: int = 0
    kv_cache_gib: float = 1.0
    gpu_share: float = 0.9
    replicas: int = 1

    @cached_property
    def chosen_window(self) -> int:
        """The window in tokens, never longer than the model's own."""
        config = self.config
        own = int(config.get("max_position_embeddings") or LONGEST_WINDOW)
        return min(self.window, own) if self.window else min(own, LONGEST_WINDOW)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's `config.json`.

        Raises:
            ModelUnusable: it is missing or not JSON.
        """
        return _json(self.model / "config.json")

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids that end an answer, the same for every engine."""
        generation = self.model / "generation_config.json"
        found = _json(generation).get("eos_token_id") if generation.is_file() else None
        found = found if found is not None else self.config.get("eos_token_id")
        if found is None:
            raise ModelUnusable(f"{self.model}: config.json names no eos_token_id, so no answer would ever end.")
        return tuple(found) if isinstance(found, list) else (int(found),)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of every two-dimensional weight, by the name of its module.

        Raises:
            ModelUnusable: the folder has no readable safetensors.
        """
        found: dict[str, tuple[int, int]] = {}
        files = sorted(self.model.glob("*.safetensors"))
        if not files:
            raise ModelUnusable(f"{self.model}: there are no weights (*.safetensors). Run download_model.py.")
        for path in files:
            try:
                with safe_open(str(path), framework="np") as weights:
                    for name in weights.keys():  # noqa: SIM118  (safe_open is no mapping)
                        shape = weights.get_slice(name).get_shape()
                        if name.endswith(".weight") and len(shape) == 2:
                            found[name.removesuffix(".weight")] = (int(shape[0]), int(shape[1]))
            except (SafetensorError, OSError) as error:
                raise ModelUnusable(f"{path}: cannot be read ({error}). Delete it and run download_model.py.") from None
        return found


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnusable(f"{path}: cannot be read ({type(error).__name__}). Run download_model.py.") from None
    if not isinstance(content, dict):
        raise ModelUnusable(f"{path}: holds no settings. Run download_model.py.")
    return content
