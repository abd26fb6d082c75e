"""What a model's files recommend for drawing counts neither in `generate` nor in the answers before and after a finetune."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.finetuning.tiny_architectures import make_tiny
from wmkml.dialogue.templates import find_template, use_template
from wmkml.finetuning.answering import ModelAnswers
from wmkml.generation.answering import answer
from wmkml.generation.decoding import Decoding
from wmkml.generation.sources import SpeakerSource
from wmkml.generation.speaker import load_speakers
from wmkml.training.base_model import load_base
from wmkml.training.lora import LoraShape, wrap_with_lora

QUESTION = [{"role": "user", "content": "Male Mund."}]
RECOMMENDED = {"do_sample": True, "min_p": 0.9, "repetition_penalty": 9.0, "suppress_tokens": list(range(3, 200))}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One model twice: without recommendations, and with such as change every answer."""
    plain = make_tiny("llama", tmp_path_factory.mktemp("models") / "plain")
    recommending = shutil.copytree(plain, plain.with_name("recommending"))
    ends = json.loads((plain / "generation_config.json").read_text())
    (recommending / "generation_config.json").write_text(json.dumps({**ends, **RECOMMENDED}))
    return plain, recommending


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_generate_draws_as_it_is_asked_to(models: tuple[Path, Path], temperature: float) -> None:
    decoding = Decoding(max_tokens=12, temperature=temperature, top_p=1.0, seed=3)
    sources = [SpeakerSource(name, folder) for name, folder in zip("ab", models, strict=True)]
    of_plain, of_recommending = (answer(speaker, QUESTION, decoding) for speaker in load_speakers(sources))
    assert of_plain == of_recommending


@pytest.mark.parametrize("taught", [False, True])
def test_before_and_after_are_drawn_alike_for_every_model(models: tuple[Path, Path], taught: bool) -> None:
    answers = []
    for folder in models:
        base = load_base(folder, "float32", torch.device("cpu"), needs_template=False)
        use_template(base.tokenizer, find_template("alpaca", base.tokenizer))
        model = wrap_with_lora(base, LoraShape(4, 8, 0.0, ("q_proj",))) if taught else base.model
        answers.append(ModelAnswers(model, base.tokenizer, max_tokens=12)([QUESTION] * 2, seed=3))
    assert answers[0] == answers[1]
    # They are the model's still, and are written with it where it is saved.
    assert base.model.generation_config.min_p == RECOMMENDED["min_p"]
