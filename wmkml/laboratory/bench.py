"""What all runs of an experiment share: one engine, one trainer, one tokenizer, started once.

The laboratory's one place of wiring from settings to the parts; training and answering take turns in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.config import Settings
from wmkml.cores import usable_cores
from wmkml.engine.building import build_engine, engine_setup
from wmkml.engine.protocol import Adapter, Engine
from wmkml.engine.setup import ModelUnusable
from wmkml.laboratory.speaking import Speaker
from wmkml.prompting import load_tokenizer
from wmkml.training.base import BaseMissing
from wmkml.training.building import make_trainer
from wmkml.training.lora import ModulesMissing
from wmkml.training.optimizers import OptimizerMissing
from wmkml.training.rounds import Round, RoundDone, RoundTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from wmkml.training.loop import Watcher

CANNOT_WORK = (BaseMissing, ModulesMissing, OptimizerMissing, ModelUnusable)
"""What says that an experiment's settings cannot work here; each error's text is for people."""

PROMPT_TOKENS = 2048
"""Prompt tokens read in one step: nobody here waits for a token, so many at once."""


@dataclass
class Bench:
    """The parts, and the numbers of adapters, which an engine must never see twice."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    trainer: RoundTrainer
    threads: int
    _adapters: int = 0

    def speaker(self, settings: Settings) -> Speaker:
        """Somebody who asks this engine as the settings say."""
        return Speaker(self.engine, self.tokenizer, settings.inference)

    async def train(self, job: Round, watcher: Watcher) -> RoundDone:
        """Train a round in a thread of its own, as the worker does."""
        return await asyncio.to_thread(self._train, job, watcher)

    def _train(self, job: Round, watcher: Watcher) -> RoundDone:
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)
        return self.trainer.train(job, watcher)

    async def load(self, folder: Path) -> Adapter:
        """Have the engine load an adapter."""
        self._adapters += 1
        adapter = Adapter(f"laboratory-{self._adapters}", self._adapters, folder)
        await self.engine.load(adapter)
        return adapter


@contextlib.asynccontextmanager
async def started(settings: Settings, model: Path) -> AsyncIterator[Bench]:
    """The bench, for as long as it is needed.

    Raises:
        One of `CANNOT_WORK`: these settings cannot work here.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    threads = 0 if gpu else settings.inference.cpu_threads or int(os.environ.get("OMP_NUM_THREADS") or usable_cores())
    setup = replace(
        engine_setup(settings, model),
        threads=threads,
        batched_tokens=settings.inference.max_num_batched_tokens or PROMPT_TOKENS,
        # The trainer holds the model a second time, on the same GPU.
        gpu_share=settings.inference.gpu_memory_utilization / 2,
    )
    if not gpu and setup.dtype == "auto":
        setup = replace(setup, dtype="float32")  # the same numbers as in training, and faster where there is no AMX
    try:
        tokenizer = load_tokenizer(model)
    except (ValueError, OSError) as error:
        raise ModelUnusable(f"The tokenizer in {model} cannot be used: {error}") from None
    engine = build_engine(settings.inference.engine, setup)
    await engine.start()
    try:
        trainer = await asyncio.to_thread(make_trainer, settings, model)
        yield Bench(engine, tokenizer, trainer, threads)
    finally:
        await engine.stop()
