"""Tiny models of random weights, one of each architecture that is finetuned, without a chat template, as base models are."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.dialogue.tokenizers_of_kinds import MISTRAL, byte_level

GATED: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
SHAPES: dict[str, dict[str, Any]] = {
    "mistral": GATED,
    "llama": GATED,
    "qwen2": GATED,
    "gemma": {**GATED, "head_dim": 8},
    "phi": {**GATED, "num_key_value_heads": 4},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
}
WIDTHS = {"hidden_size", "intermediate_size", "head_dim", "n_embd"}
ALL_GATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
USUAL_TARGETS: dict[str, AbstractSet[str]] = {
    **dict.fromkeys(("mistral", "llama", "qwen2", "gemma"), frozenset(ALL_GATED)),
    "phi": {"q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"},
    **dict.fromkeys(("falcon", "bloom", "gpt_neox"), frozenset({"query_key_value"})),
    "gpt2": {"c_attn"},
}


def make_tiny(kind: str, folder: Path, scale: int = 1) -> Path:
    """Write model and tokenizer of this architecture into a new folder.

    Args:
        scale: what its width is multiplied by: vLLM computes no heads as narrow as these on a CPU, but those of scale 4.
    """
    tokenizer = byte_level(MISTRAL, [], bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = None
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        **{name: value * (scale if name in WIDTHS else 1) for name, value in SHAPES[kind].items()},
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(str(folder))
    return folder
