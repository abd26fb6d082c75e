"""A random Mistral-shaped model with a byte-level tokenizer, and adapters for it, good and bad; building one takes a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.dialogue.tokenizers_of_kinds import MISTRAL, byte_level

TARGETS = ["q_proj", "v_proj"]
RANK = 8
MORE_ENDS = list(range(350, 362))
"""Ordinary tokens that also end an answer, so that a random model stops within some dozen tokens."""


def make_model(folder: Path) -> Path:
    """Write a model of 1.5M parameters in float32."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(1)
    tokenizer = byte_level(MISTRAL, ["[INST]", "[/INST]"], bos_token="<s>", eos_token="</s>")
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=512,
        sliding_window=None,
        tie_word_embeddings=True,
        initializer_range=0.15,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ends = {"eos_token_id": [tokenizer.eos_token_id, *MORE_ENDS]}
    (folder / "generation_config.json").write_text(json.dumps(ends), encoding="utf-8")
    return folder


def make_adapter(model: Path, folder: Path, *, seed: int = 0, rank: int = RANK, **more: Any) -> Path:
    """Write a LoRA adapter with random weights, strong enough to change greedy answers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = {"target_modules": TARGETS, "lora_alpha": 2 * rank, "task_type": "CAUSAL_LM", **more}
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=rank, **settings))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.2)
    wrapped.save_pretrained(folder)
    return folder


def change_weights(folder: Path, change: Any) -> Path:
    """Rewrite an adapter's weights: `change(tensors)` gets and returns a dictionary of them."""
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    return folder


def change_config(folder: Path, **values: Any) -> Path:
    """Rewrite values of an adapter's `adapter_config.json`."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")
    return folder
