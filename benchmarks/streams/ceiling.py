"""vLLM's `AsyncLLM` itself, without HTTP and without text: what a server around it can reach at most.

Commands and answers as those of `client.py`; prompts are token ids.

    {"streams": 16, "prompts": [[1, 2], …], "max_tokens": 128, "top": 0, "background": [[1, 2], …]}

    env/bin/python -m benchmarks.streams.ceiling CONFIG
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.engine.build import engine_setup
from wmkml.engine.vllm_engine import engine_arguments, vllm_environment
from wmkml.protocol.inference import PRIORITIES


class Ceiling:
    """An engine with the arguments that inference gives to its own."""

    def __init__(self, config: Path) -> None:
        settings = load_settings(config)
        self._setup = engine_setup(settings, paths_of(settings, config.parent).model)
        self._sampling = settings.inference
        os.environ.update(vllm_environment(self._setup))
        self._llm: Any = None

    def start(self) -> None:
        """Load the model."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = engine_arguments(self._setup, on_cpu=bool(current_platform.is_cpu()))
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

    async def _ask(self, prompt: list[int], max_tokens: int, top: int, priority: int = 0) -> tuple[int, float]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=self._sampling.visitor_temperature,
            top_p=self._sampling.visitor_top_p,
            frequency_penalty=self._sampling.frequency_penalty,
            max_tokens=max_tokens,
            logprobs=top or None,
            stop_token_ids=list(self._setup.end_tokens),
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        began, first, tokens = time.perf_counter(), 0.0, 0
        async for output in self._llm.generate(
            {"prompt_token_ids": prompt}, parameters, uuid.uuid4().hex, priority=priority
        ):
            first = first or time.perf_counter() - began
            tokens += len(output.outputs[0].token_ids)
        return tokens, first

    async def follow(
        self, streams: int, prompts: list[list[int]], max_tokens: int, top: int, background: list[list[int]]
    ) -> dict[str, Any]:
        """Answer all prompts, `streams` at a time, while all of `background` is answered again and again."""
        left, answers = list(prompts), []

        async def repeat(prompt: list[int]) -> None:
            while True:
                await self._ask(prompt, max_tokens, 0, PRIORITIES["echo"])

        async def stream() -> None:
            while left:
                answers.append(await self._ask(left.pop(), max_tokens, top))

        beside = [asyncio.create_task(repeat(prompt)) for prompt in background]
        began = time.perf_counter()
        await asyncio.gather(*(stream() for _ in range(streams)))
        seconds = time.perf_counter() - began
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        return {
            "tokens": sum(tokens for tokens, _ in answers),
            "seconds": seconds,
            "first_token": [first for _, first in answers],
        }


async def obey(ceiling: Ceiling) -> None:
    """Carry out the commands of the standard input, until it ends."""
    ceiling.start()
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await ceiling.follow(**json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(obey(Ceiling(Path(sys.argv[1]))))
