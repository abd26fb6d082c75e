"""One claimed round, from the job to the owner's answer: fetch what it goes on from, train, write, hand in.

Knows the trainer and the owner's messages; decides nothing about which rounds there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from wmkml import wire
from wmkml.training.base import BaseMissing
from wmkml.training.loop import MemoryExhausted, Trained, TrainingDropped, TrainingSpoiled
from wmkml.training.lora import WEIGHTS_FILE, AdapterBroken
from wmkml.training.optimizers import OptimizerMissing
from wmkml.training.rounds import Previous, Round, RoundTrainer
from wmkml.training.writing import PlaceGone
from wmkml.worker.following import Follower
from wmkml.worker.owner_client import OwnerClient, OwnerRefuses
from wmkml.worker.parcels import ParcelBroken, packed, unpack
from wmkml.worker.quiet_threads import LOW, LOWEST, apart

log = logging.getLogger(__name__)

TOLD_REASONS = (AdapterBroken, TrainingSpoiled, MemoryExhausted, ParcelBroken, OptimizerMissing, BaseMissing)
"""Errors whose texts are ours, and so hold no visitor's word."""


class Unexpected(RuntimeError):
    """A round failed in a way nobody foresaw: the process that it happened in should be replaced."""


@dataclass(frozen=True)
class Bench:
    """What every round of this worker is carried out with.

    Attributes:
        own_folder: for adapters where owner and worker share none; emptied at start and after every round.
        shares_folder: whether the owner's folders are ours too.
        nice: whether training yields to everything else on the machine.
        threads: CPU threads for training; 0: torch's own choice.
    """

    trainer: RoundTrainer
    owner: OwnerClient
    own_folder: Path
    shares_folder: bool
    nice: bool
    threads: int


async def carry_out(bench: Bench, job: wire.RoundJob) -> None:
    """Carry one round out and tell the owner how it went.

    Raises:
        Unexpected: it failed in a way nobody foresaw; the owner was told.
    """
    log.info(
        "Round %d, attempt %d: %d samples, rate %g", job.iteration, job.attempt, len(job.samples), job.learning_rate
    )
    try:
        async with _followed(bench, job) as follower:
            folder, sha256, trained = await _trained(bench, job, follower)
        await _hand_in(bench, job, folder, sha256, trained)
    except TrainingDropped:
        log.info("Round %d was dropped.", job.iteration)
    except OwnerRefuses as refusal:
        log.warning("Round %d: the owner refuses: %s", job.iteration, refusal)
    except TOLD_REASONS as failure:
        log.error("Round %d failed: %s", job.iteration, failure)
        await _give_back(bench, job, str(failure))
    except Exception as failure:  # noqa: BLE001 - told to the owner, then raised as what ends this process
        # Its text may hold what a visitor said (a tokenizer's, say); its kind and its lines of code cannot.
        where = "".join(traceback.format_tb(failure.__traceback__))
        log.error("Round %d failed unexpectedly with %s:\n%s", job.iteration, type(failure).__name__, where)
        await _give_back(
            bench, job, f"Unexpected {type(failure).__name__}; the worker starts anew, its log says where."
        )
        raise Unexpected(type(failure).__name__) from None
    finally:
        if bench.own_folder.exists():
            shutil.rmtree(bench.own_folder)


@contextlib.asynccontextmanager
async def _followed(bench: Bench, job: wire.RoundJob) -> AsyncIterator[Follower]:
    """A follower whose reports are sent beside the training; its last ones before the adapter is handed in."""
    follower = Follower(job)
    telling = asyncio.create_task(follower.tell(bench.owner))
    try:
        yield follower
        follower.finish()
        # The swap must not wait for reports to an owner that is slow or away.
        await asyncio.wait([telling], timeout=0.5)
    finally:
        follower.drop()
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling


async def _trained(bench: Bench, job: wire.RoundJob, follower: Follower) -> tuple[Path, str, Trained]:
    """Train and write the adapter: its folder, sha256 and what the training was."""
    trainer = bench.trainer
    named = Path(job.folder)
    shared = bench.shares_folder and named.parent.is_dir()
    folder = named if shared else bench.own_folder / "new" / named.name
    previous = await _previous(bench, job)
    task = Round(
        pairs=tuple((sample.prompt, sample.answer) for sample in job.samples),
        learning_rate=job.learning_rate,
        seed=job.seed,
        previous=previous,
        folder=folder,
    )
    trained = await apart(
        lambda: trainer.learn(task, follower), nice=LOWEST if bench.nice else 0, threads=bench.threads
    )
    if not follower.proceed():
        raise TrainingDropped("The round was dropped.")
    if not shared:
        folder.parent.mkdir(parents=True)
    try:
        # Not of the lowest priority: from here on the swap waits for us, and so do those who are being answered.
        nice = LOW if bench.nice else 0
        sha256 = await apart(lambda: trainer.put_down(folder), nice=nice, threads=bench.threads)
    except PlaceGone:
        raise TrainingDropped("The run is over.") from None
    if not follower.proceed():
        if shared and folder.exists():  # nobody was told of it, so nobody has it open
            shutil.rmtree(folder)
        raise TrainingDropped("The round was dropped.")
    return folder, sha256, trained


async def _previous(bench: Bench, job: wire.RoundJob) -> Previous | None:
    """The adapter to go on from, on this disk, fetched from the owner if need be."""
    if job.previous is None:
        return None
    folder = Path(job.previous.path)
    in_memory = bench.trainer.holds(job.previous.sha256)
    if not in_memory and not (bench.shares_folder and (folder / WEIGHTS_FILE).is_file()):
        folder = bench.own_folder / "previous"
        unpack(await bench.owner.download(job, job.previous), folder, job.previous.sha256)
    return Previous(folder, job.previous.sha256)


async def _hand_in(bench: Bench, job: wire.RoundJob, folder: Path, sha256: str, trained: Trained) -> None:
    def message() -> wire.HandIn:
        return wire.HandIn(
            path=str(folder),
            sha256=sha256,
            tokens=trained.tokens,
            train_seconds=trained.seconds,
            seconds_since_last_step=time.monotonic() - trained.last_step_at,
            loss_first=trained.losses[0],
            loss_last=trained.losses[-1],
        )

    reply = await bench.owner.hand_in(job, message)
    if reply.upload:
        await bench.owner.upload(job, packed(folder), sha256)
        reply = await bench.owner.hand_in(job, message)
    if reply.accepted:
        log.info("Round %d was accepted: %.1f s, %d tokens", job.iteration, trained.seconds, trained.tokens)
    else:
        log.warning("Round %d was not accepted: %s", job.iteration, reply.reason)


async def _give_back(bench: Bench, job: wire.RoundJob, reason: str) -> None:
    try:
        await bench.owner.failed(job, reason)
    except OwnerRefuses as refusal:
        log.warning("Round %d was no longer ours: %s", job.iteration, refusal)
