"""How much memory a model takes, before it is loaded: counted from its `config.json`, or estimated from its name.

For plans: in GiB, rather too much than too little, for the architecture that Mistral, Llama and Qwen share.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
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
"""Shapes of models that are configured before they are downloaded, as in their `config.json`."""

DEFAULT_NAME = "mistralai/Mistral-7B-Instruct-v0.3"
"""Unknown models count as this one, scaled to the size in their name."""

BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "fp8": 1.05, "nf4": 0.6, "awq": 0.6, "gptq": 0.6}
"""Bytes of a weight; of those below 16 bits on average, with scales, embeddings and head, which stay in 16 bits."""

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of one transformer layer, by the names that LoRA knows them under."""


@dataclass(frozen=True)
class Shape:
    """What a decoder model's memory depends on; sizes in elements.

    `source` says in words where they are from.  `estimated`: only the model's name was known, so they may be far off.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool
    source: str
    estimated: bool = False

    def linear(self, name: str) -> tuple[int, int]:
        """Inputs and outputs of the linear layer with this name; (0, 0) if there is none."""
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
        """Number of weights of the whole model."""
        return self.layers * self.layer_parameters + self.outer_parameters

    @property
    def layer_parameters(self) -> int:
        """Number of weights of one layer."""
        return sum(inputs * outputs for inputs, outputs in map(self.linear, LINEAR)) + 2 * self.hidden

    @property
    def outer_parameters(self) -> int:
        """Number of weights outside the layers: embeddings, last norm, head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    def weights_gib(self, number_format: str) -> float:
        """Memory of the whole model, in GiB; `number_format` is a key of `BYTES`."""
        return self.parameters * BYTES[number_format] / GIB

    def lora_parameters(self, modules: list[str], rank: int) -> int:
        """Number of weights of one adapter."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in map(self.linear, modules))

    @property
    def kv_bytes_a_token(self) -> int:
        """Bytes of one token's keys and values in a 16-bit cache."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_size


def shape_of(name: str, folder: Path) -> Shape:
    """The shape of a model: from its folder, else from `KNOWN_SHAPES`, else estimated from a size in its name."""
    config = folder / "config.json"
    if config.is_file():
        return _shape_from_config(json.loads(config.read_text(encoding="utf-8")), "read from its config.json")
    if name in KNOWN_SHAPES:
        return _shape_from_config(KNOWN_SHAPES[name], "not downloaded yet; this model's shape is known")
    default = replace(
        _shape_from_config(KNOWN_SHAPES[DEFAULT_NAME], "unknown until downloaded; estimated as a model of 7B"),
        estimated=True,
    )
    size = re.search(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", name.rpartition("/")[2].lower())
    if size is None:
        return default
    parameters = float(size[1]) * (1e9 if size[2] == "b" else 1e6)
    # Weights grow with width² times depth; if both grow alike, each by the cube root.
    scale = (parameters / default.parameters) ** (1 / 3)
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
        source=f"unknown until downloaded; estimated from the {size[0].upper()} in its name",
        estimated=True,
    )


def _shape_from_config(config: dict[str, Any], source: str) -> Shape:
    # Multimodal models nest the language model's configuration.
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
        source=source,
    )


def training_gib(shape: Shape, precision: str, tokens: int, lora_parameters: int, parts: int = 1) -> dict[str, float]:
    """Memory that training uses on each of its devices, by part, in GiB.

    Args:
        shape: the base model.
        precision: of the frozen weights, a key of `BYTES`.
        tokens: in one forward pass.
        lora_parameters: number of trained weights; float32, each with a gradient and two moments of the optimizer.
        parts: devices that hold the weights together; each gathers what it computes with.
    """
    # For the backward pass a layer keeps of each token some eleven 16-bit vectors of hidden size (norms, attention,
    # LoRA) and three of the intermediate size; frozen layers keep no inputs.  Logits are float32, with a gradient each.
    bytes_a_token = shape.layers * (11 * shape.hidden + 3 * shape.intermediate) * 2 + shape.vocabulary * 4 * 2
    weights = {"weights": shape.weights_gib(precision) / parts}
    if parts > 1:
        weights[f"weights, 1/{parts} of them"] = weights.pop("weights")
        # Two layers, of which the second is gathered while the first computes; embeddings and head for the whole pass.
        gathered = 2 * shape.layer_parameters + shape.outer_parameters
        weights["weights gathered at once"] = gathered * BYTES[precision] / GIB
    return {
        **weights,
        "adapter, gradients, optimizer": lora_parameters * 16 / GIB,
        "activations, at most": tokens * bytes_a_token / GIB,
    }
