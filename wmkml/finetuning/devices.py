"""A finetune on several devices: a process (rank) for each, which do all of it alike, one step together after another.

Each reads the words, evaluates and answers for itself, as it must where a model is divided among them; only the first
one prints and writes.  What they learn is what one device learns, but for the order of sums and, with dropout, for chance.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TextIO

import torch

from wmkml.finetuning.control import Interruption
from wmkml.finetuning.preparation.prepare import Preparation, prepare
from wmkml.finetuning.progress import LiveLine
from wmkml.finetuning.session import Finetune, Finetuned
from wmkml.finetuning.settings import FinetuneRefusedError, FinetuneSettings
from wmkml.training.base_model import BaseMissingError
from wmkml.training.kernels.choice import PackingImpossibleError
from wmkml.training.loop import MemoryExhaustedError, NullWatcher, TrainingSpoiledError, Watcher
from wmkml.training.ranks.pool import run_on_ranks
from wmkml.training.ranks.process import RankPlan, RankSeat

SILENT_SECONDS = 1800.0
"""How long all ranks may go on without a sign: an evaluation of a large model, or its answers, take minutes."""


class RankInterruption(Interruption):
    """Whether the operator asked to end, as a rank hears of it from the process that was asked."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def look(self) -> None:
        """Ask; tells at the same time that this rank goes on."""
        self.wanted = self.wanted or not self._watcher.should_continue()


class _AskedWatcher(NullWatcher):
    """Stops the ranks when the operator asked for it."""

    def __init__(self, asked: Interruption) -> None:
        self._asked = asked

    def should_continue(self) -> bool:
        """Whether nobody has asked."""
        return not self._asked.wanted


def finetune_on_devices(preparation: Preparation, asked: Interruption, *, resume: bool) -> Finetuned:
    """As `Finetune.run`, on the devices that the settings name.

    Raises:
        RankLostError: a process died, or ran out of memory while others waited for it.
        TrainingSpoiledError, MemoryExhaustedError: as `loop.train`.
    """
    settings = preparation.settings
    plan = RankPlan(
        size=devices_of(settings),
        lockstep=settings.parallel == "fsdp",
        gpus=preparation.device.type == "cuda",
        silent_seconds=SILENT_SECONDS,
        expected=(
            TrainingSpoiledError,
            MemoryExhaustedError,
            FinetuneRefusedError,
            BaseMissingError,
            PackingImpossibleError,
        ),
    )
    first, *_ = run_on_ranks(_finetune, plan, _AskedWatcher(asked), settings, resume)
    return first


def devices_of(settings: FinetuneSettings) -> int:
    """How many devices train: as many as were asked for, or all GPUs.

    Raises:
        FinetuneRefusedError: there are fewer GPUs.
    """
    if settings.card_gib is not None:  # of which there may be as many as are named
        return max(1, settings.devices)
    gpus = 0 if settings.device == "cpu" else torch.cuda.device_count()
    if settings.devices == 0:
        return max(1, gpus)
    if 0 < gpus < settings.devices:
        raise FinetuneRefusedError(f"--devices: {settings.devices} are wanted, and torch sees {gpus} GPUs.")
    return settings.devices


def _finetune(seat: RankSeat, watcher: Watcher, settings: FinetuneSettings, resume: bool) -> Finetuned:
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger().setLevel(logging.WARNING)
    with Path(os.devnull).open("w", encoding="utf-8") as silence:
        stream: TextIO | None = None if seat.group.rank == 0 else silence
        preparation = prepare(settings, seat.device)
        try:
            return Finetune(preparation, LiveLine(stream), RankInterruption(watcher), seat).run(resume=resume)
        finally:
            preparation.close()
