"""Both engines give the same greedy answers in float32: of the shipped model, and of an adapter on some of its layers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from tests.engine.random_model import RANK, TARGETS, make_adapter
from tests.understudy.test_understudy import ENGLISH_PROMPTS, GERMAN_PROMPTS
from tests.warm_processes import VLLM, warm_children
from wmkml.dialogue.chat_template import load_tokenizer, prompt_ids
from wmkml.engine.build import build_engine
from wmkml.engine.protocol import Adapter, Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.understudy.answering import MODEL_FOLDER
from wmkml.understudy.exchanges import SYSTEM_PROMPTS

pytestmark = pytest.mark.process

SHIPPED = EngineSetup(
    MODEL_FOLDER, adapters=1, rank=RANK, target_modules=tuple(TARGETS), dtype="float32", sequences=8, threads=1
)
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=64)


async def answers(
    engine_name: Literal["transformers", "vllm"], prompts: list[tuple[int, ...]], adapter: Adapter
) -> tuple[list[list[int]], list[list[int]]]:
    """What an engine answers to each prompt, without and with the adapter."""
    engine = build_engine(engine_name, SHIPPED)
    await engine.start()

    async def answer(number: int, prompt: tuple[int, ...], adapter: Adapter | None) -> list[int]:
        generation = Generation(f"g{number} {adapter is None}", prompt, GREEDY, adapter, 0)
        return [step.token async for step in engine.generate(generation)]

    async def answer_all(adapter: Adapter | None) -> list[list[int]]:
        return await asyncio.gather(*(answer(number, prompt, adapter) for number, prompt in enumerate(prompts)))

    try:
        await engine.load(adapter)
        return await answer_all(None), await answer_all(adapter)
    finally:
        await engine.stop()


@pytest.mark.vllm
async def test_both_engines_give_the_same_greedy_answers(tmp_path: Path) -> None:
    """vLLM computes q_proj, k_proj and v_proj as one layer, and the adapter has nothing for k_proj."""
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
    adapter = Adapter("iteration-0", 1, make_adapter(MODEL_FOLDER, tmp_path / "adapter", seed=5))
    base, adapted = await answers("transformers", prompts, adapter)
    assert len({tuple(tokens) for tokens in base}) > 15
    assert len({tuple(tokens) for tokens in adapted}) > 15
    assert all(tokens != of_base for tokens, of_base in zip(adapted, base, strict=True))
    with warm_children(VLLM):
        assert await answers("vllm", prompts, adapter) == (base, adapted)
