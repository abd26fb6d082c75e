"""What a model is made of, told from its `config.json` alone: the model is built without memory, on torch's meta device.

Which layers a LoRA goes into follows from it, and what training will take.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

ATTENTION = "attention"
ALL = "all"
"""Values of `--lora-targets`: the projections into attention, or every linear layer but the output."""

FUSED = (
    "query_key_value",  # Falcon, BLOOM, GPT-NeoX and Pythia
    "c_attn",  # GPT-2
)
"""Names of the layers that make queries, keys and values in one."""

INTO_ATTENTION = (
    *FUSED,
    "qkv_proj",  # Phi-3
    "Wqkv",  # MPT
    "q_proj",  # Mistral, Llama, Qwen, Gemma, Phi-2, OPT, …
    "k_proj",
    "v_proj",
)
"""Names of the layers that make queries, keys and values, in the architectures of transformers."""


OUTPUT_WEIGHTS = (
    "lm_head.weight",
    "embed_out.weight",
    "model.embed_tokens.weight",
    "transformer.word_embeddings.weight",
    "word_embeddings.weight",
    "transformer.wte.weight",
    "wte.weight",
    "gpt_neox.embed_in.weight",
)
"""Names of the output layer's weights on the disk; where it has none of its own, those of the embeddings."""

LARGEST = 1 << 29
"""Bytes of these weights above which nothing is looked for: so large a vocabulary is of a model that has met it."""

SAME = 0.999
"""Cosine from which two tokens are the same to the model."""


class ModelUnknownError(ValueError):
    """The model's folder cannot be understood, or a LoRA cannot go where it should.  The message says what to do."""


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer: its dotted name, inputs and outputs."""

    name: str
    inputs: int
    outputs: int

    @property
    def short_name(self) -> str:
        """The last part of its name, by which PEFT targets it."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Architecture:
    """A causal language model's shape.

    Attributes:
        kind: `model_type` of its configuration: mistral, gpt2, falcon, …
        parameters: all of them; tied ones count once.
        linear: the linear layers inside its blocks, in order.
        window: the longest text it reads, in tokens.
    """

    config: Any
    kind: str
    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    window: int
    linear: tuple[LinearLayer, ...]
    output: LinearLayer

    @cached_property
    def attention_targets(self) -> tuple[str, ...]:
        """The names of the layers that make queries, keys and values; empty if the architecture is not known."""
        present = {layer.short_name for layer in self.linear}
        return tuple(name for name in INTO_ATTENTION if name in present)

    @cached_property
    def all_targets(self) -> tuple[str, ...]:
        """The names of all linear layers inside the blocks."""
        return tuple(dict.fromkeys(layer.short_name for layer in self.linear))

    @cached_property
    def usual_targets(self) -> tuple[str, ...]:
        """Where a LoRA goes if nothing else is asked for: the fused matrix of attention, else every linear layer.

        Falcon, BLOOM, GPT-NeoX and GPT-2 are commonly taught in the fused one alone; the others in all of their layers,
        without which a narrow model does not learn to copy a word from its prompt.
        """
        return tuple(name for name in FUSED if name in self.all_targets) or self.all_targets

    def targets(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The names of the layers that a LoRA goes into.

        Args:
            wanted: `attention`, `all`, or names of layers; empty: `usual_targets`.

        Raises:
            ModelUnknownError: the model has no layer of a name that is wanted.
        """
        if list(wanted) == [ALL]:
            return self.all_targets
        if not wanted:
            return self.usual_targets
        if list(wanted) == [ATTENTION]:
            if not self.attention_targets:
                raise ModelUnknownError(
                    f"--lora-targets: where attention is in this model ({self.kind}) is not known; it has the linear "
                    f"layers {', '.join(self.all_targets)}."
                )
            return self.attention_targets
        if missing := [name for name in wanted if name not in (*self.all_targets, self.output.short_name)]:
            raise ModelUnknownError(
                f"--lora-targets: this model ({self.kind}) has no linear layer named {', '.join(missing)}; "
                f"it has {', '.join(self.all_targets)}."
            )
        return tuple(wanted)

    def lora_parameters(self, targets: Sequence[str], rank: int) -> int:
        """The number of weights of a LoRA of this rank in these layers."""
        layers = (*self.linear, self.output)
        return sum(rank * (layer.inputs + layer.outputs) for layer in layers if layer.short_name in targets)


def architecture_of(folder: Path) -> Architecture:
    """Read a model's configuration.

    Raises:
        ModelUnknownError: there is none, or transformers has no causal language model for it.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ModelUnknownError(
            f"{folder} holds no model (no config.json). Fetch one with `wmkml download`, or name a folder."
        )
    try:
        return architecture_of_config(AutoConfig.from_pretrained(str(folder), local_files_only=True))
    except (ValueError, OSError, KeyError, AttributeError, ImportError) as error:
        raise ModelUnknownError(f"{folder}: transformers makes no causal language model of it: {error}") from None


def architecture_of_config(config: Any) -> Architecture:
    """The architecture that a configuration of transformers describes.

    Raises:
        ValueError: transformers has no causal language model for it.
    """
    model = empty_model(config)
    text = config.get_text_config()
    outputs = model.get_output_embeddings()
    linear = tuple(_linear_layers(model, outputs))
    return Architecture(
        config=config,
        kind=str(config.model_type),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=int(text.num_hidden_layers),
        hidden=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        window=int(getattr(text, "max_position_embeddings", None) or 2048),
        linear=linear,
        output=_output_layer(model, outputs),
    )


def empty_model(config: Any) -> Any:
    """A model of this configuration on the meta device: shapes without weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def shortened(config: Any, layers: int) -> Any:
    """The configuration of the same model with only its first layers."""
    short = copy.deepcopy(config)
    text = short.get_text_config()
    text.num_hidden_layers = layers
    for name, value in vars(text).items():
        # What is listed for each layer: kinds of attention, and the like.
        if isinstance(value, list) and len(value) > layers and name in ("layer_types", "attention_layers"):
            setattr(text, name, value[:layers])
    return short


def _output_layer(model: Any, output: Any) -> LinearLayer:
    name = next(name for name, module in model.named_modules() if module is output)
    outputs, inputs = output.weight.shape
    return LinearLayer(name, int(inputs), int(outputs))


def _linear_layers(model: Any, output: Any) -> list[LinearLayer]:
    from transformers.pytorch_utils import Conv1D

    layers = []
    for name, module in model.named_modules():
        if module is output:
            continue
        if isinstance(module, torch.nn.Linear):
            layers.append(LinearLayer(name, module.in_features, module.out_features))
        elif isinstance(module, Conv1D):
            inputs, outputs = module.weight.shape
            layers.append(LinearLayer(name, int(inputs), int(outputs)))
    return layers


def unlearned_tokens(folder: Path, tokens: Iterable[int]) -> list[int]:
    """Those of the tokens that the model in this folder cannot tell from another token, in order.

    Tokens that never occurred in its training have one and the same embedding.  Whatever the layers below compute, they
    are equally likely, so that a LoRA inside the blocks cannot teach one of them.  A small model with a general tokenizer
    has many: the understudy never met `[`, `"` or `=`.  Empty where the weights are not found, or too large to be looked at.
    """
    weights = _output_weights(folder)
    wanted = sorted(set(tokens))
    if weights is None or not wanted:
        return []
    rows = torch.nn.functional.normalize(weights.float(), dim=1)
    same: list[int] = []
    for first in range(0, len(wanted), 256):
        part = wanted[first : first + 256]
        alike = (rows[part] @ rows.T > SAME).sum(dim=1)
        same += [token for token, count in zip(part, alike.tolist(), strict=True) if count > 1]
    return same


def _output_weights(folder: Path) -> torch.Tensor | None:
    places = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            places.update(dict.fromkeys(file.keys(), path))
    name = next((name for name in OUTPUT_WEIGHTS if name in places), None)
    if name is None:
        return None
    with safe_open(str(places[name]), framework="pt") as file:
        shape = file.get_slice(name).get_shape()
        if 2 * shape[0] * shape[1] > LARGEST:
            return None
        weights: torch.Tensor = file.get_tensor(name)
    return weights
