"""What all runs of an experiment share: one engine, one trainer and one tokenizer, started once from the settings.

Training and answering take turns in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.config import ConfigError, Settings
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.engine.build import build_engine, engine_setup
from wmkml.engine.choice import choose_engine, vllm_runs
from wmkml.engine.protocol import Adapter, Engine
from wmkml.engine.setup import ModelUnusableError
from wmkml.laboratory.generation import AnswerGenerator
from wmkml.models.devices import AUTO, DeviceMissingError, find_device
from wmkml.system.cores import usable_cores
from wmkml.training.base_model import BaseMissingError
from wmkml.training.lora import ModulesMissingError
from wmkml.training.optimizers import OptimizerMissingError
from wmkml.training.ranks.group import ALONE
from wmkml.training.ranks.process import RankSeat
from wmkml.training.rounds import RoundTrainer, TrainedRound, TrainingRound
from wmkml.training.trainer_factory import make_trainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from wmkml.training.loop import Watcher

SETUP_ERRORS = (
    ConfigError,
    BaseMissingError,
    DeviceMissingError,
    ModulesMissingError,
    OptimizerMissingError,
    ModelUnusableError,
)
"""Errors raised when the settings cannot work on this machine; their messages are for people."""

PROMPT_TOKENS = 2048
"""Most prompt tokens per engine step when the settings leave it open; high, since latency does not matter here."""


@dataclass
class LaboratoryResources:
    """Engine, tokenizer and trainer.

    Adapters are numbered across all runs: an engine must never see an adapter's name or number twice.

    Attributes:
        threads: CPU threads of the training; 0: torch's default.
    """

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    trainer: RoundTrainer
    threads: int
    _adapter_count: int = 0

    def answer_generator(self, settings: Settings) -> AnswerGenerator:
        """An answer generator with this engine and these settings."""
        return AnswerGenerator(self.engine, self.tokenizer, settings.inference)

    async def train(self, job: TrainingRound, watcher: Watcher) -> TrainedRound:
        """Train a round in a separate thread, as the worker does."""
        return await asyncio.to_thread(self._train, job, watcher)

    def _train(self, job: TrainingRound, watcher: Watcher) -> TrainedRound:
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)
        return self.trainer.train(job, watcher)

    async def load_adapter(self, folder: Path) -> Adapter:
        """Load an adapter into the engine."""
        self._adapter_count += 1
        adapter = Adapter(f"laboratory-{self._adapter_count}", self._adapter_count, folder)
        await self.engine.load(adapter)
        return adapter


@contextlib.asynccontextmanager
async def start_resources(settings: Settings, model: Path, device: str = AUTO) -> AsyncIterator[LaboratoryResources]:
    """Start engine and trainer; the engine is stopped at the end.

    Args:
        device: where both compute; `auto`: CUDA, else Apple's GPU, else the CPU.

    Raises:
        One of `SETUP_ERRORS`: these settings cannot work here.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    place = find_device(device)
    gpu = place.type == "cuda"
    threads = 0 if gpu else settings.inference.cpu_threads or int(os.environ.get("OMP_NUM_THREADS") or usable_cores())
    setup = replace(
        engine_setup(settings, model),
        threads=threads,
        batched_tokens=settings.inference.max_num_batched_tokens or PROMPT_TOKENS,
        # The trainer holds the model a second time, on the same GPU.
        gpu_share=settings.inference.gpu_memory_utilization / 2,
        device=str(place),
    )
    if not gpu and setup.dtype == "auto":
        setup = replace(setup, dtype="float32")  # as in training, and faster without AMX
    try:
        tokenizer = load_tokenizer(model)
    except (ValueError, OSError) as error:
        raise ModelUnusableError(f"The tokenizer in {model} cannot be used: {error}") from None
    settings = choose_engine(settings, vllm=vllm_runs(gpus=gpu))
    engine = build_engine(settings.inference.engine, setup)
    await engine.start()
    try:
        trainer = await asyncio.to_thread(make_trainer, settings, model, RankSeat(ALONE, place))
        yield LaboratoryResources(engine, tokenizer, trainer, threads)
    finally:
        await engine.stop()
