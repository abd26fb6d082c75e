"""Both engines give the same greedy answers in float32: of the shipped model, and of an adapter on some of its layers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from tests.engine.random_model import RANK, TARGETS, make_adapter, make_model
from tests.understudy.test_understudy import ENGLISH_PROMPTS, GERMAN_PROMPTS
from wmkml.dialogue.chat_template import load_tokenizer, prompt_ids
from wmkml.engine.build import build_engine
from wmkml.engine.protocol import Adapter, Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.understudy.answering import MODEL_FOLDER
from wmkml.understudy.exchanges import SYSTEM_PROMPTS

pytestmark = pytest.mark.process

SHIPPED = EngineSetup(MODEL_FOLDER, adapters=1, rank=8, dtype="float32", sequences=8)
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=64)


async def answers(
    engine_name: Literal["transformers", "vllm"],
    prompts: list[tuple[int, ...]],
    setup: EngineSetup = SHIPPED,
    adapter: Adapter | None = None,
) -> list[list[int]]:
    engine = build_engine(engine_name, setup)
    await engine.start()

    async def answer(number: int, prompt: tuple[int, ...]) -> list[int]:
        generation = Generation(f"g{number}", prompt, GREEDY, adapter, 0)
        return [step.token async for step in engine.generate(generation)]

    try:
        if adapter is not None:
            await engine.load(adapter)
        return await asyncio.gather(*(answer(number, prompt) for number, prompt in enumerate(prompts)))
    finally:
        await engine.stop()


@pytest.mark.vllm
async def test_both_engines_give_the_same_greedy_answers() -> None:
    tokenizer = load_tokenizer(MODEL_FOLDER)
    prompts = [
        tuple(
            prompt_ids(
                tokenizer,
                [{"role": "system", "content": SYSTEM_PROMPTS[language]}, {"role": "user", "content": prompt}],
            )
        )
        for language, questions in (("de", GERMAN_PROMPTS), ("en", ENGLISH_PROMPTS))
        for prompt in questions
    ]
    by_transformers = await answers("transformers", prompts)
    assert len({tuple(tokens) for tokens in by_transformers}) > 15
    assert await answers("vllm", prompts) == by_transformers


@pytest.mark.vllm
async def test_an_adapter_answers_alike_where_vllm_keeps_places_in_its_layers_alone(tmp_path: Path) -> None:
    """vLLM computes q_proj, k_proj and v_proj as one layer, and the adapter has nothing for k_proj."""
    model = make_model(tmp_path / "model")
    setup = EngineSetup(
        model, adapters=1, rank=RANK, target_modules=tuple(TARGETS), dtype="float32", sequences=8, batched_tokens=32
    )
    adapter = Adapter("iteration-0", 1, make_adapter(model, tmp_path / "adapter", seed=5))
    prompts = [tuple((11 * start + 17 * step) % 300 + 10 for step in range(6 + 5 * start)) for start in range(4)]
    adapted = await answers("transformers", prompts, setup, adapter)
    assert adapted != await answers("transformers", prompts, setup)
    assert await answers("vllm", prompts, setup, adapter) == adapted
