"""The steps of `gpu.py` about serving: an adapter in the transformers engine, a rehearsed cluster, and vLLM."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_steps.model import (
    GIB,
    MODULES,
    RANK,
    WORDS,
    byte_tokenizer,
    device_of,
    existing_model,
    make_trainer,
    sample_pairs,
)
from benchmarks.gpu_steps.step import PROJECT, FigureRecorder, StepFailedError, StepNotRunError, StepSetting
from wmkml.adapters.checks import AdapterRefusedError
from wmkml.dialogue.chat_template import prompt_ids
from wmkml.engine.protocol import Adapter, Engine, Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.engine.transformers_engine import TransformersEngine
from wmkml.inference.swap_proof import SwapProver
from wmkml.system.cores import usable_cores
from wmkml.training.loop import NullWatcher
from wmkml.training.rounds import PreviousAdapter, RoundTrainer, TrainingRound

QUICK_RATE = 0.005
"""Learning rate of the adapters that are proved: they must differ from the base model by more than rounding."""

PROMPTS, ANSWER_TOKENS = 8, 32
"""Prompts that trainer and engine both answer, greedily, and the most tokens of an answer."""

STREAMS, STREAM_TOKENS = 64, 160
"""Streams that vLLM generates at the same time, and the tokens of each."""


def adapter(setting: StepSetting, record: FigureRecorder) -> None:
    """Train two adapters, write them, load them into the transformers engine, and compare what engine and trainer say."""
    folder = setting.adapters_folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # Sixteen samples a step: eight steps a round, so that the second adapter differs clearly from the first.
    trainer = make_trainer(setting, samples_per_step=16)
    precision, previous = trainer.base.precision, None
    for number in range(2):
        pairs = sample_pairs(trainer.base.tokenizer, 60, number)
        job = TrainingRound(pairs, QUICK_RATE, number, previous, folder / f"iteration-{number}")
        trained = trainer.train(job, NullWatcher())
        previous = PreviousAdapter(trained.folder, trained.sha256)
    record(precision=precision, losses=trained.result.losses)
    prompts = stream_prompts(PROMPTS)
    of_trainer = [_greedy(trainer, prompt) for prompt in prompts]
    # The engine gets the card to itself, as large as it is.
    del trainer
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        record(left_by_trainer_gib=torch.cuda.memory_allocated() / GIB)
    engine = TransformersEngine(engine_setup(setting))
    of_engine = asyncio.run(_proved_answers(engine, folder, prompts, record))
    agreeing = [_agreeing(*answers) for answers in zip(of_trainer, of_engine, strict=True)]
    record(
        same_first_token=sum(count > 0 for count in agreeing) / PROMPTS,
        same_tokens=sum(agreeing) / sum(map(len, of_trainer)),
    )
    # Numbers are rounded differently in the two, and from the first other token on answers go other ways; in nf4 the
    # trainer has another base model, and only the proof counts.
    if precision != "nf4" and sum(count > 0 for count in agreeing) < PROMPTS / 2:
        raise StepFailedError("engine and trainer begin most answers with other tokens")


async def _proved_answers(
    engine: TransformersEngine, folder: Path, prompts: Sequence[tuple[int, ...]], record: FigureRecorder
) -> list[list[int]]:
    began = time.perf_counter()
    await engine.start()
    record(engine_start_seconds=time.perf_counter() - began)
    try:
        await swap(engine, Adapter("iteration-0", 1, folder / "iteration-0"), record, "first_swap")
        newest = Adapter("iteration-1", 2, folder / "iteration-1")
        await swap(engine, newest, record, "second_swap")
        streams = [Stream() for _ in prompts]
        began = time.perf_counter()
        greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=ANSWER_TOKENS)
        await asyncio.gather(
            *(
                stream.follow(engine, Generation(f"greedy-{number}", prompt, greedy, newest))
                for number, (stream, prompt) in enumerate(zip(streams, prompts, strict=True))
            )
        )
        tokens = sum(len(stream.tokens) for stream in streams)
        record(tokens_a_second=tokens / (time.perf_counter() - began))
    finally:
        await engine.stop()
    return [stream.tokens for stream in streams]


async def swap(engine: Engine, adapter: Adapter, record: FigureRecorder, name: str) -> None:
    """Load an adapter and have the engine prove that it uses it.

    Raises:
        StepFailedError: it does not, or the adapter moved too little to tell.
    """
    began = time.perf_counter()
    await engine.load(adapter)
    loaded = time.perf_counter()
    try:
        proof = await SwapProver(engine).prove(adapter)
    except AdapterRefusedError as error:
        raise StepFailedError(f"{adapter.name}: {error}") from None
    assert proof is not None
    record(
        **{
            name: {
                "verdict": proof.verdict,
                "load_seconds": loaded - began,
                "proof_seconds": time.perf_counter() - loaded,
                "distance": proof.distance,
                "to_previous": proof.to_previous,
                "to_base": proof.to_base,
                "noise": proof.noise,
            }
        }
    )
    if proof.verdict != "proved":
        raise StepFailedError(f"{adapter.name}: {proof.sentence()}")


def _greedy(trainer: RoundTrainer, prompt: tuple[int, ...]) -> list[int]:
    """The likeliest answer by the trainer's own model."""
    base = trainer.base
    trainer.model.eval()
    ids = torch.tensor([prompt], device=base.device)
    with torch.no_grad(), torch.autocast(base.device.type, dtype=base.autocast, enabled=base.autocast is not None):
        answer = trainer.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
            use_cache=True,
            pad_token_id=base.tokenizer.eos_token_id,
        )
    tokens: list[int] = answer[0, len(prompt) :].tolist()
    return tokens


def _agreeing(answer: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two answers have in common, from the beginning."""
    pairs = list(zip(answer, other, strict=False))
    return next((index for index, (token, other_token) in enumerate(pairs) if token != other_token), len(pairs))


def stream_prompts(count: int) -> list[tuple[int, ...]]:
    """Prompts of some thirty tokens, all different, in the chat template."""
    tokenizer = byte_tokenizer()
    contents = [" ".join(WORDS[(number + 3 * index) % len(WORDS)] for index in range(9)) for number in range(count)]
    return [tuple(prompt_ids(tokenizer, [{"role": "user", "content": content}])) for content in contents]


def engine_setup(setting: StepSetting) -> EngineSetup:
    """An engine for eleven adapters, as a run needs them."""
    on_gpu = torch.cuda.is_available()
    return EngineSetup(
        model=existing_model(setting),
        adapters=11,
        rank=RANK,
        target_modules=MODULES,
        window=2048,
        sequences=STREAMS,
        batched_tokens=2048 if on_gpu else 128,
        threads=max(1, min(8, usable_cores() // 4)),
    )


@dataclass
class Stream:
    """One answer under way: its tokens, and when each came, in seconds."""

    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    async def follow(self, engine: Engine, generation: Generation) -> None:
        """Generate the answer."""
        async for step in engine.generate(generation):
            self.tokens.append(step.token)
            self.times.append(time.perf_counter())

    def gaps(self) -> list[tuple[float, float]]:
        """Begin and end of the time between every two tokens."""
        return list(zip(self.times, self.times[1:], strict=False))


def vllm(setting: StepSetting, record: FigureRecorder) -> None:
    """vLLM: start, a proved swap while 64 streams are under way, and their speed."""
    device_of(setting)
    model = existing_model(setting)
    if importlib.util.find_spec("vllm") is None:
        raise StepNotRunError("vllm is not installed")
    if not (setting.adapters_folder / "iteration-1").is_dir():
        raise StepNotRunError("there are no adapters: the step `adapter` did not write them")
    record(model=model.name, flashinfer_sampler=os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "default"))
    asyncio.run(_vllm(setting, record))


async def _vllm(setting: StepSetting, record: FigureRecorder) -> None:
    from wmkml.engine.vllm_engine import VllmEngine

    engine = VllmEngine(engine_setup(setting))
    began = time.perf_counter()
    await engine.start()
    record(start_seconds=time.perf_counter() - began)
    try:
        adapters = [
            Adapter(f"iteration-{number}", number + 1, setting.adapters_folder / f"iteration-{number}")
            for number in range(2)
        ]
        await swap(engine, adapters[0], record, "first_swap")
        sampling = Sampling(max_tokens=STREAM_TOKENS)
        streams = [Stream() for _ in range(STREAMS)]
        began = time.perf_counter()
        following = [
            asyncio.create_task(stream.follow(engine, Generation(f"stream-{number}", prompt, sampling, adapters[0])))
            for number, (stream, prompt) in enumerate(zip(streams, stream_prompts(STREAMS), strict=True))
        ]
        while sum(len(stream.tokens) for stream in streams) < STREAMS * STREAM_TOKENS / 3:
            if any(task.done() and task.exception() for task in following):
                break
            await asyncio.sleep(0.01)
        swap_begin = time.perf_counter()
        await swap(engine, adapters[1], record, "swap_under_load")
        swap_end = time.perf_counter()
        await asyncio.gather(*following)
        _record_streams(streams, began, swap_begin, swap_end, record)
        after = Stream()
        await after.follow(engine, Generation("after", stream_prompts(1)[0], sampling, adapters[1]))
        record(tokens_a_second_alone=(len(after.tokens) - 1) / (after.times[-1] - after.times[0]))
    finally:
        await engine.stop()


def _record_streams(
    streams: Sequence[Stream], began: float, swap_begin: float, swap_end: float, record: FigureRecorder
) -> None:
    gaps = [gap for stream in streams for gap in stream.gaps()]
    at_swap = [end - begin for begin, end in gaps if end > swap_begin and begin < swap_end]
    elsewhere = [end - begin for begin, end in gaps if not (end > swap_begin and begin < swap_end)]
    record(
        streams=len(streams),
        tokens_a_second=sum(len(stream.tokens) for stream in streams) / (max(s.times[-1] for s in streams) - began),
        first_token_ms_median=statistics.median(stream.times[0] - began for stream in streams) * 1e3,
        gap_ms_median=statistics.median(elsewhere) * 1e3,
        gap_ms_max=max(elsewhere) * 1e3,
        swap_gap_ms_max=max(at_swap) * 1e3 if at_swap else "not seen",
    )


def cluster(setting: StepSetting, record: FigureRecorder) -> None:
    """The whole cluster with the understudy and the transformers engine, engine and worker on one card, rehearsed."""
    device_of(setting)
    modules = ("fastapi", "uvicorn", "httpx", "httpx_sse", "supervisor", "psutil", "pythonosc", "pydantic", "yaml")
    if missing := [module for module in modules if importlib.util.find_spec(module) is None]:
        raise StepNotRunError(f"the cluster needs {', '.join(missing)}, which are not installed")
    report = setting.folder / "rehearsal.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "wmkml.launcher", "--rehearse", "2", "--report", str(report)]
    command += ["--model", "understudy", "--engine", "transformers"]
    process = subprocess.Popen(command, cwd=PROJECT)
    # The report is there before every process has ended, and is worth having even if they do not end in time.
    while process.poll() is None and not _recorded(report, record):
        time.sleep(0.2)
    status = process.wait()
    if not _recorded(report, record):
        raise StepFailedError(f"the launcher ended with status {status} and wrote no report")
    problems = json.loads(report.read_text(encoding="utf-8"))["problems"]
    if status != 0 or problems:
        raise StepFailedError(
            f"the rehearsal found: {'; '.join(problems) or f'nothing, but ended with status {status}'}"
        )


def _recorded(report: Path, record: FigureRecorder) -> bool:
    """Record what a rehearsal's report says, once it is there and whole; returns whether it is."""
    try:
        content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    visits = content["visits"]
    record(
        model=content["model"],
        engine=content["engine"],
        start_seconds=content["start_seconds"],
        rehearsal_seconds=content["seconds"],
        rounds=[
            {name: round_[name] for name in ("iteration", "samples", "tokens", "train_seconds", "swap_seconds")}
            for round_ in content["rounds"]
        ],
        visits_sent=visits["sent"],
        visits_answered=visits["answered"],
        first_token_ms_p95=visits["first_token_ms"]["p95"],
        gap_ms_median=visits["token_gap_ms"]["median"],
        swap_gap_ms_max=visits["swap_gap_ms_max"],
        problems=content["problems"],
    )
    return True
