"""For the tests of speaking: the understudy as a speaker, and an adapter of it with a template of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wmkml.config.paths import SHIPPED_MODEL
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.dialogue.templates import find_template, save_template
from wmkml.generation.sources import find_source
from wmkml.generation.speaker import Speaker, load_speakers


@pytest.fixture(scope="session")
def understudy() -> Speaker:
    """The understudy, on the CPU."""
    (speaker,) = load_speakers([find_source("understudy")], device="cpu")
    return speaker


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the understudy with random weights, taught (so its files say) with "Anweisung: …"."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(2)
    shape = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(SHIPPED_MODEL, dtype=torch.float32), shape)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.1)
    model.save_pretrained(folder)
    save_template(find_template("anweisung", load_tokenizer(SHIPPED_MODEL)), folder)
    return folder
