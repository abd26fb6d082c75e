"""How much memory a model takes: counted from its `config.json`, or estimated from its name, before anything is loaded.

Estimates for a plan, in GiB, on the generous side; they decide nothing that the machine would not decide again.
Knows the shape that Mistral, Llama and Qwen share; imports no torch.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 2**30

KNOWN_SHAPES: dict[str, dict[str, Any]] = {
    "mistralai/Mistral-7B-Instruct-v0.3": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 32768,
    },
}
"""Shapes of models that are often named before they are downloaded."""

DEFAULT_NAME = "mistralai/Mistral-7B-Instruct-v0.3"

BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "nf4": 0.6}
"""Bytes of a weight; nf4 with its scales, and the layers it leaves in 16 bits."""

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Shape:
    """What a decoder model's memory depends on.  `known` says in words where the figures are from."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool
    window: int
    known: str

    def linear(self, name: str) -> tuple[int, int]:
        """Inputs and outputs of one linear layer, by the name LoRA knows it under; (0, 0) for a name this shape has not."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }.get(name, (0, 0))

    @property
    def parameters(self) -> int:
        """Weights of the whole model."""
        layer = sum(inputs * outputs for inputs, outputs in map(self.linear, LINEAR)) + 2 * self.hidden
        return self.layers * layer + self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    def lora_parameters(self, modules: list[str], rank: int) -> int:
        """Weights of one adapter."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in map(self.linear, modules))

    @property
    def kv_bytes_a_token(self) -> int:
        """Bytes of keys and values that one token leaves in a 16-bit cache."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_size


def shape_of(name: str, folder: Path) -> Shape:
    """The shape of a model: from its folder, else from the names we know, else guessed from a size in its name."""
    config = folder / "config.json"
    if config.is_file():
        return _read(json.loads(config.read_text(encoding="utf-8")), "read from its config.json")
    if name in KNOWN_SHAPES:
        return _read(KNOWN_SHAPES[name], "not downloaded yet; this model's shape is known")
    default = _read(KNOWN_SHAPES[DEFAULT_NAME], "unknown until downloaded; estimated as a model of 7B")
    size = re.search(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", name.rpartition("/")[2].lower())
    if size is None:
        return default
    wanted = float(size[1]) * (1e9 if size[2] == "b" else 1e6)
    # Width and depth grow together, so the scale of one is the cube root of the weights'.
    scale = (wanted / default.parameters) ** (1 / 3)
    hidden = max(64, round(default.hidden * scale / 64) * 64)
    return Shape(
        hidden=hidden,
        layers=max(1, round(default.layers * scale)),
        heads=max(1, hidden // default.head_size),
        kv_heads=max(1, hidden // default.head_size // 4),
        head_size=default.head_size,
        intermediate=round(hidden * 3.5),
        vocabulary=default.vocabulary,
        tied=False,
        window=default.window,
        known=f"unknown until downloaded; estimated from the {size[0].upper()} in its name",
    )


def _read(config: dict[str, Any], known: str) -> Shape:
    # Multimodal models keep the language model's shape one level down.
    config = config.get("text_config", config)
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    return Shape(
        hidden=hidden,
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_size=int(config.get("head_dim") or hidden // heads),
        intermediate=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        window=int(config.get("max_position_embeddings", 32768)),
        known=known,
    )


def training_gib(shape: Shape, precision: str, tokens: int, lora_parameters: int) -> dict[str, float]:
    """What the worker holds on its device, by part, in GiB.

    Args:
        shape: the base model.
        precision: a key of BYTES, of the frozen weights.
        tokens: that go through the model at once.
        lora_parameters: trained in float32, with gradients and two moments of the optimizer.
    """
    # Frozen layers keep no inputs: for a token's way back a layer keeps some eleven 16-bit vectors of hidden size (norms,
    # attention, the LoRA's own) and three of the intermediate size; logits are there in float32 twice, with gradients.
    kept = shape.layers * (11 * shape.hidden + 3 * shape.intermediate) * 2 + shape.vocabulary * 4 * 2
    return {
        "weights": shape.parameters * BYTES[precision] / GIB,
        "adapter, gradients, optimizer": lora_parameters * 16 / GIB,
        "activations, at most": tokens * kept / GIB,
    }
