"""The step of `gpu.py` that compares how vLLM may be set up: what each way costs at the start, and what it brings.

Two settings are decided by it.  `specialize_active_lora` captures CUDA graphs for each power of two of adapters in use: off
unless it brings more tokens than its start and memory are worth.  `inference.max_num_batched_tokens`: how long streams
stand still while a long prompt is read.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu_steps.model import GIB, device_of, existing_model
from benchmarks.gpu_steps.serving import Stream, engine_setup, stream_prompts, swap
from benchmarks.gpu_steps.step import FigureRecorder, StepNotRunError, StepSetting
from wmkml.engine.protocol import Adapter, Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.engine.vllm_engine import VllmEngine

STREAMS, STREAM_TOKENS = 32, 96
LONG_PROMPT = 1800
"""Tokens of the prompt that is read while the streams go on."""

BATCHED_TOKENS = (512, 1024, 2048)


def vllm_variants(setting: StepSetting, record: FigureRecorder) -> None:
    """vLLM with and without `specialize_active_lora`, and with few and many tokens read in one step."""
    device_of(setting)
    existing_model(setting)
    if importlib.util.find_spec("vllm") is None:
        raise StepNotRunError("vllm is not installed")
    if not (setting.adapters_folder / "iteration-1").is_dir():
        raise StepNotRunError("there are no adapters: the step `adapter` did not write them")
    plain = engine_setup(setting)
    variants = {f"read_{tokens}": replace(plain, batched_tokens=tokens) for tokens in BATCHED_TOKENS}
    variants["specialized"] = replace(plain, engine_args={"specialize_active_lora": True})
    for name, setup in variants.items():
        figures = asyncio.run(_figures(setting, setup, record, name))
        record(**{f"{name}_{key}": value for key, value in figures.items()})


async def _figures(setting: StepSetting, setup: EngineSetup, record: FigureRecorder, name: str) -> dict[str, Any]:
    """Start, memory, speed with adapters mixed, and the longest gap of a stream while a long prompt is read."""
    engine = VllmEngine(setup)
    began = time.perf_counter()
    await engine.start()
    figures: dict[str, Any] = {"start_seconds": time.perf_counter() - began}
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        figures["memory_gib"] = (total - free) / GIB
    try:
        adapters = [
            Adapter(f"iteration-{number}", number + 1, setting.adapters_folder / f"iteration-{number}")
            for number in range(2)
        ]
        for adapter in adapters:
            await swap(engine, adapter, record, f"{name}_{adapter.name}")
        sampling = Sampling(max_tokens=STREAM_TOKENS)
        streams = [Stream() for _ in range(STREAMS)]
        began = time.perf_counter()
        following = [
            asyncio.create_task(
                stream.follow(engine, Generation(f"stream-{number}", prompt, sampling, adapters[number % 2]))
            )
            for number, (stream, prompt) in enumerate(zip(streams, stream_prompts(STREAMS), strict=True))
        ]
        while any(len(stream.tokens) < STREAM_TOKENS // 3 for stream in streams):
            if any(task.done() for task in following):
                break
            await asyncio.sleep(0.01)
        # A stranger's prompt of tokens that no stream has, so that no cache holds it.
        length = min(LONG_PROMPT, setup.chosen_window - 2)
        long_prompt = tuple(number % 200 + 10 for number in range(length))
        reading = Stream()
        asked = time.perf_counter()
        await reading.follow(engine, Generation("long", long_prompt, Sampling(max_tokens=1), adapters[0]))
        first = time.perf_counter()
        await asyncio.gather(*following)
        gaps = [end - begin for stream in streams for begin, end in stream.gaps() if end > asked and begin < first]
        seconds = max(stream.times[-1] for stream in streams) - began
        figures["tokens_a_second"] = sum(len(stream.tokens) for stream in streams) / seconds
        figures["long_prompt_first_token_ms"] = (first - asked) * 1e3
        figures["stall_ms"] = max(gaps) * 1e3 if gaps else "not seen"
        return figures
    finally:
        await engine.stop()
