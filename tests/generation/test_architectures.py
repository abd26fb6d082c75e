"""Models of other architectures than Mistral's, taught by `wmkml finetune`, say the same in vLLM and in `generate`.

The transformers engine is held to the same in tests/finetuning/test_finetune.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.finetuning.tiny_architectures import make_tiny
from tests.warm_processes import VLLM, warm_children
from wmkml.__main__ import main
from wmkml.adapters.files import CONFIG_FILE
from wmkml.engine.protocol import Adapter, Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.generation.answering import answer
from wmkml.generation.decoding import Decoding
from wmkml.generation.sources import with_adapter
from wmkml.generation.speaker import load_speakers

LENGTH = 12
SERVED = ("qwen2", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("gemma", "phi", "gpt_neox")))
"""Beside Mistral, which tests/engine/test_contract.py serves, and Llama, which is the same class in vLLM.  Of Falcon, BLOOM and
GPT-2 vLLM 0.32 serves no LoRA.  One of them at every run, since vLLM takes half a minute to start; the others among the long tests."""


@pytest.mark.process
@pytest.mark.vllm
@pytest.mark.parametrize("kind", SERVED)
async def test_vllm_says_what_generate_says(kind: str, tmp_path: Path) -> None:
    from wmkml.engine.vllm_engine import VllmEngine

    model, out = make_tiny(kind, tmp_path / "model", scale=4), tmp_path / "out"
    (words := tmp_path / "words.txt").write_text("Male Haus. # Hier ist Haus.\nMale Mond. # Hier ist Mond.\n" * 4)
    options = ["--epochs", "2", "--learning-rate", "0.02", "--compared", "1", "--out", str(out)]
    assert main(["finetune", "--model", str(model), "--data", str(words), *options]) == 0
    (speaker,) = load_speakers([with_adapter("", out)], device="cpu")
    question = [{"role": "user", "content": "Male Mund."}]
    (spoken,) = answer(speaker, question, Decoding(max_tokens=LENGTH, temperature=0.0))
    config = json.loads((out / CONFIG_FILE).read_text(encoding="utf-8"))
    setup = EngineSetup(
        model,
        adapters=2,
        rank=config["r"],
        target_modules=tuple(sorted(config["target_modules"])),
        dtype="float32",
        threads=1,
        kv_cache_gib=0.25,
    )
    engine, voice = VllmEngine(setup), Adapter("voice", 1, out)
    with warm_children(VLLM):
        await engine.start()
    try:
        await engine.load(voice)
        generation = Generation("g", spoken.prompt_ids, Sampling(temperature=0.0, top_p=1.0, max_tokens=LENGTH), voice)
        assert [step.token async for step in engine.generate(generation)] == list(spoken.ids)
    finally:
        await engine.stop()
