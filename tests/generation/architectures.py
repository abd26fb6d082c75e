"""Tiny models with random weights of every architecture that the issue of speaking names, and adapters for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from tests.dialogue.tokenizers_of_kinds import CHATML, MISTRAL, byte_level
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.dialogue.templates import find_template, save_template

RANK = 4
WINDOW = 256

# Heads of 32: smaller ones vLLM does not compute on a CPU.
COMMON = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
GATED = {**COMMON, "intermediate_size": 96, "num_key_value_heads": 2, "max_position_embeddings": WINDOW}

ARCHITECTURES: dict[str, tuple[type[PreTrainedConfig], dict[str, Any], list[str]]] = {
    "mistral": (MistralConfig, {**GATED, "sliding_window": None}, ["q_proj", "v_proj"]),
    "llama": (LlamaConfig, GATED, ["q_proj", "v_proj"]),
    "qwen": (Qwen2Config, GATED, ["q_proj", "v_proj"]),
    "phi-2": (PhiConfig, {**GATED, "num_key_value_heads": 4}, ["q_proj", "dense"]),
    "gemma": (GemmaConfig, {**GATED, "head_dim": 32}, ["q_proj", "v_proj"]),
    "falcon": (FalconConfig, {**COMMON, "alibi": False, "max_position_embeddings": WINDOW}, ["query_key_value"]),
    "bloom": (
        BloomConfig,
        {"hidden_size": 128, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
        ["query_key_value"],
    ),
    "gpt-neox": (
        GPTNeoXConfig,
        {**COMMON, "intermediate_size": 96, "max_position_embeddings": WINDOW},
        ["query_key_value"],
    ),
    "gpt-2": (
        GPT2Config,
        {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": WINDOW, "initializer_range": 0.2},
        ["c_attn"],
    ),
}
"""Configuration, its values, and the layers that LoRA changes."""

WITH_CHAT_TEMPLATE = {"mistral", "llama", "qwen", "gemma"}
"""The others are base models: an adapter brings the template that it was taught with."""


def make_architecture(name: str, folder: Path) -> Path:
    """Write a model of this architecture with a byte-level tokenizer."""
    kind, values, _ = ARCHITECTURES[name]
    if name == "qwen":
        tokenizer = byte_level(CHATML, ["<|im_start|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>")
    elif name in WITH_CHAT_TEMPLATE:
        tokenizer = byte_level(MISTRAL, ["[INST]", "[/INST]"], bos_token="<s>", eos_token="</s>")
    else:
        tokenizer = byte_level("", [], eos_token="<|endoftext|>")
        tokenizer.chat_template = None
    torch.manual_seed(5)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = kind(vocab_size=len(tokenizer), pad_token_id=None, **ends, **values)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_taught_adapter(name: str, model: Path, folder: Path, template: str) -> Path:
    """Write a LoRA with random weights that change every answer, and the template it was taught with."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(9)
    _, _, targets = ARCHITECTURES[name]
    settings = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets, task_type="CAUSAL_LM")
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(model), settings)
    with torch.no_grad():
        for weight_name, weight in wrapped.named_parameters():
            if "lora_" in weight_name:
                weight.normal_(0, 0.3)
    wrapped.save_pretrained(folder)
    save_template(find_template(template, load_tokenizer(model, needs_template=False)), folder)
    return folder
