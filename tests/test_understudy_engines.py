"""The shipped model in both engines: the same greedy answers in float32."""

from __future__ import annotations

import asyncio

import pytest

from tests.test_understudy import ENGLISH_PROMPTS, GERMAN_PROMPTS
from wmkml.engine.building import build_engine
from wmkml.engine.protocol import Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.prompting import load_tokenizer, prompt_ids
from wmkml.understudy.answering import MODEL_FOLDER
from wmkml.understudy.exchanges import SYSTEM_PROMPTS

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=64)


async def answers(engine_name: str, prompts: list[tuple[int, ...]]) -> list[list[int]]:
    engine = build_engine(engine_name, EngineSetup(MODEL_FOLDER, adapters=1, rank=8, dtype="float32", sequences=8))
    await engine.start()

    async def answer(number: int, prompt: tuple[int, ...]) -> list[int]:
        asked = Generation(f"g{number}", prompt, GREEDY, None, 0)
        return [step.token async for step in engine.generate(asked)]

    try:
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
        for language, asked in (("de", GERMAN_PROMPTS), ("en", ENGLISH_PROMPTS))
        for prompt in asked
    ]
    by_transformers = await answers("transformers", prompts)
    assert len({tuple(tokens) for tokens in by_transformers}) > 15
    assert await answers("vllm", prompts) == by_transformers
