"""What the engines are started with, and what they need from the model's files: window, end tokens, shapes of layers.

Reads `config.json`, `generation_config.json` and the headers of the weights, never a weight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from wmkml.engine.remote_protocol import Deployment

LONGEST_WINDOW = 4096
"""Tokens: the window when the settings name none, even if the model's is longer, since the cache takes memory."""

WINDOW_KEYS = ("max_position_embeddings", "n_positions", "seq_length")
"""What `config.json` calls the longest text that a model was made for: most, GPT-2, BLOOM."""


TURNED_KINDS, TURNED_LAYERS = ("gpt2",), (".c_attn", ".c_proj", ".c_fc", ".q_attn")
"""Architectures, and their layers, whose weights lie on the disk as (in, out)."""

EMBEDDINGS = (
    "model.embed_tokens",
    "transformer.word_embeddings",
    "word_embeddings",
    "transformer.wte",
    "wte",
)
"""Names of the embeddings, whose weights may be the output layer's too."""


class ModelUnusableError(ValueError):
    """The model's folder cannot be served.  The text is a sentence for the operator."""


@dataclass(frozen=True)
class EngineSetup:
    """How an engine is started.

    Attributes:
        model: folder of the base model in Hugging Face's form.
        window: longest prompt and answer together, in tokens; 0: the model's own, at most LONGEST_WINDOW.
        adapters: the most adapters that are loaded at the same time.
        rank: the rank of every adapter.
        target_modules: the linear layers that adapters change, as `finetuning.lora_target_modules` names them; empty:
            any.  vLLM keeps places for `adapters` adapters in each of these layers, and computes with all of them.
        sequences: the most answers that are generated at the same time.
        batched_tokens: the most prompt tokens that are read in one step.
        threads: CPU threads; 0: the library's own choice.
        quantization: number format of the served weights with vLLM on a GPU, as `inference.quantization`; `auto` is
            decided by the launcher's plan, and `none` where there is no plan.
        kv_cache_gib: size of vLLM's cache on a CPU, in GiB.
        kv_cache_bytes: size of vLLM's cache on a GPU that another process shares; None: what is left of `gpu_share`.
        gpu_share: the share of each GPU's memory that vLLM takes.
        replicas: copies of the model, by vLLM's data parallelism.
        tensor_parallel: GPUs that hold a copy of the model together.
        engine_args: more arguments for vLLM (`wmkml.engine.engine_args`).
        deployment: where the remote engine is asked.
        device: cpu, cuda or mps, for the transformers engine; empty: the best that there is.
    """

    model: Path
    adapters: int
    rank: int
    target_modules: tuple[str, ...] = ()
    window: int = 0
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    quantization: Literal["auto", "none", "fp8", "awq", "gptq"] = "auto"
    sequences: int = 64
    batched_tokens: int = 64
    threads: int = 0
    kv_cache_gib: float = 1.0
    kv_cache_bytes: int | None = None
    gpu_share: float = 0.9
    replicas: int = 1
    tensor_parallel: int = 1
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    deployment: Deployment | None = None
    device: str = ""

    @cached_property
    def chosen_window(self) -> int:
        """The window in tokens, never longer than the model's own."""
        config = self.config
        own = int(next((config[key] for key in WINDOW_KEYS if config.get(key)), LONGEST_WINDOW))
        return min(self.window, own) if self.window else min(own, LONGEST_WINDOW)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's `config.json`.

        Raises:
            ModelUnusableError: it is missing or not JSON.
        """
        return _read_json(self.model / "config.json")

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids that end an answer, the same in every engine.

        Raises:
            ModelUnusableError: the model's files name none.
        """
        generation = self.model / "generation_config.json"
        ids = _read_json(generation).get("eos_token_id") if generation.is_file() else None
        ids = ids if ids is not None else self.config.get("eos_token_id")
        if ids is None:
            raise ModelUnusableError(f"{self.model}: config.json names no eos_token_id, so no answer would ever end.")
        return tuple(ids) if isinstance(ids, list) else (int(ids),)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of every two-dimensional weight, by its module's name.

        Raises:
            ModelUnusableError: the folder has no readable safetensors.
        """
        shapes: dict[str, tuple[int, int]] = {}
        files = sorted(self.model.glob("*.safetensors"))
        if not files:
            raise ModelUnusableError(
                f"{self.model}: there are no weights (*.safetensors). Fetch it with `python -m wmkml download`."
            )
        for path in files:
            try:
                with safe_open(str(path), framework="np") as weights:
                    for name in weights.keys():  # noqa: SIM118  (safe_open is no mapping)
                        shape = weights.get_slice(name).get_shape()
                        module = name.removesuffix(".weight")
                        if name.endswith(".weight") and len(shape) == 2:
                            outputs, inputs = int(shape[0]), int(shape[1])
                            turned = self.config.get("model_type") in TURNED_KINDS and module.endswith(TURNED_LAYERS)
                            shapes[module] = (inputs, outputs) if turned else (outputs, inputs)
            except (SafetensorError, OSError) as error:
                raise ModelUnusableError(
                    f"{path}: cannot be read ({error}). Delete it and fetch it again: python -m wmkml download."
                ) from None
        for module in EMBEDDINGS:
            if module in shapes:
                # The output layer of a model that has no weights of its own for it.
                shapes.setdefault("lm_head", shapes[module])
        return shapes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnusableError(
            f"{path}: cannot be read ({type(error).__name__}). Fetch it with `python -m wmkml download`."
        ) from None
    if not isinstance(content, dict):
        raise ModelUnusableError(f"{path}: holds no settings. Fetch it with `python -m wmkml download`.")
    return content
