"""A Mistral-shaped model of a few thousand random weights with a fixed seed, for tests of the training."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import MistralConfig, MistralForCausalLM

from tests.dialogue.tokenizers_of_kinds import MISTRAL, byte_level
from wmkml.training.base_model import FrozenBase, load_base
from wmkml.training.loop import Recipe
from wmkml.training.lora import LoraShape
from wmkml.training.rounds import RoundDefaults, RoundTrainer
from wmkml.training.samples import LossOn

CPU = torch.device("cpu")
PAIRS = tuple(
    (f"Was ist {thing}?", f"{thing} ist ein Wort, und {thing} lebt im Mund. " * (1 + number % 4))
    for number, thing in enumerate(["Sprache", "ein Haus", "der Mond", "a rose", "the sea", "Brot", "ein Kind", "rain"])
)


def make_tiny_model(folder: Path) -> Path:
    """Write model and tokenizer into the folder, in Hugging Face's form."""
    tokenizer = byte_level(MISTRAL, ["[INST]", "[/INST]"], bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(7)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        sliding_window=None,
        initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    MistralForCausalLM(config).save_pretrained(str(folder))
    return folder


def base_of(folder: Path) -> FrozenBase:
    """The model of the folder in float32 on the CPU."""
    return load_base(folder, "float32", CPU)


def trainer_of(
    folder: Path,
    *,
    dropout: float = 0.0,
    samples_per_step: int = 256,
    micro_batch_tokens: int = 4096,
    max_length: int = 512,
    loss_on: LossOn = "text",
    epochs: int = 2,
) -> RoundTrainer:
    """A trainer over the tiny model: rank 4, on q_proj and v_proj."""
    recipe = Recipe(0.0, epochs, samples_per_step, micro_batch_tokens, "adamw")
    shape = LoraShape(4, 8, dropout, ("q_proj", "v_proj"))
    return RoundTrainer(base_of(folder), shape, RoundDefaults(recipe, max_length, loss_on))
