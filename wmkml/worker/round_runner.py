"""Runs one claimed round: fetch the previous adapter, train, write, hand in and measure.

A failure is reported with a reason that holds no visitor's words.  No round leaves anything in the worker's own folder,
nor more on the GPU than the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import logging
import shutil
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from wmkml.adapters.archive import ArchiveBrokenError, pack, unpack
from wmkml.adapters.files import WEIGHTS_FILE
from wmkml.protocol.training import HandIn, ModelMeasures, RoundJob
from wmkml.training.adapter_writer import FolderGoneError
from wmkml.training.base_model import BaseMissingError
from wmkml.training.loop import MemoryExhaustedError, TrainingDroppedError, TrainingResult, TrainingSpoiledError
from wmkml.training.lora import AdapterBrokenError
from wmkml.training.optimizers import OptimizerMissingError
from wmkml.training.probing.model_probe import ModelReading
from wmkml.training.ranks.pool import RankLostError
from wmkml.training.rounds import PreviousAdapter, Trainer, TrainingRound
from wmkml.worker.owner_client import OwnerRefusedError, WorkerOwnerClient
from wmkml.worker.progress_reporter import ProgressReporter
from wmkml.worker.thread_priority import LOW, LOWEST, run_in_thread

log = logging.getLogger(__name__)


class PreviousAdapterGoneError(RuntimeError):
    """The owner does not give the adapter that the round goes on from."""


REPORTABLE_ERRORS = (
    PreviousAdapterGoneError,
    AdapterBrokenError,
    TrainingSpoiledError,
    MemoryExhaustedError,
    ArchiveBrokenError,
    OptimizerMissingError,
    BaseMissingError,
    RankLostError,
)
"""Errors whose texts may be reported to the owner: they are written by this project and quote no sample."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""What a disk says that takes nothing at the moment."""

SAVE_AGAIN_SECONDS = 1.0


class UnexpectedError(RuntimeError):
    """A round failed with an exception that is not one of REPORTABLE_ERRORS; this process should be replaced."""


@dataclass(frozen=True)
class WorkerResources:
    """What all rounds of this worker use.

    Attributes:
        own_folder: for adapters when owner and worker share no folder; deleted at start and after every round.
        shares_folder: whether the worker can read and write the owner's folders.
        nice: whether training runs at a lower priority.
        threads: CPU threads for training; 0: torch's own choice.
    """

    trainer: Trainer
    owner: WorkerOwnerClient
    own_folder: Path
    shares_folder: bool
    nice: bool
    threads: int


@dataclass(frozen=True)
class WrittenRound:
    """A round whose adapter is in its folder."""

    folder: Path
    sha256: str
    trained: TrainingResult


def measures_of(reading: ModelReading) -> ModelMeasures:
    """A reading of the measuring probe as it is sent to the owner."""
    return ModelMeasures(
        values=dict(reading.values), layers={name: list(values) for name, values in reading.layers.items()}
    )


async def run_round(resources: WorkerResources, job: RoundJob) -> None:
    """Run one round and report its outcome to the owner.

    Raises:
        UnexpectedError: the round failed unexpectedly; the failure was reported to the owner.
    """
    log.info(
        "Round %d, attempt %d: %d samples, rate %g",
        job.iteration,
        job.attempt,
        len(job.samples),
        job.learning_rate,
    )
    try:
        async with _reporting(resources, job) as reporter:
            written = await _train_and_write(resources, job, reporter)
        await _hand_in_and_measure(resources, job, written)
    except TrainingDroppedError:
        log.info("Round %d was dropped.", job.iteration)
    except OwnerRefusedError as refusal:
        log.warning("Round %d: the owner refuses: %s", job.iteration, refusal)
    except REPORTABLE_ERRORS as failure:
        log.error("Round %d failed: %s", job.iteration, failure)
        await _report_failure(resources, job, str(failure))
    except Exception as failure:  # noqa: BLE001 - reported to the owner, then raised as UnexpectedError
        # Its text may quote a sample (a tokenizer's error does); its type and its lines of code cannot.
        frames = "".join(traceback.format_tb(failure.__traceback__))
        log.error("Round %d failed unexpectedly with %s:\n%s", job.iteration, type(failure).__name__, frames)
        await _report_failure(
            resources, job, f"Unexpected {type(failure).__name__}; the worker starts anew, its log says where."
        )
        raise UnexpectedError(type(failure).__name__) from None
    finally:
        resources.trainer.release_memory()
        if resources.own_folder.exists():
            shutil.rmtree(resources.own_folder)


@contextlib.asynccontextmanager
async def _reporting(resources: WorkerResources, job: RoundJob) -> AsyncIterator[ProgressReporter]:
    """A reporter whose reports are sent while the training runs; the last ones before the adapter is handed in."""
    reporter = ProgressReporter(job)
    sending = asyncio.create_task(reporter.send_reports(resources.owner))
    try:
        yield reporter
        reporter.finish()
        # Half a second at most: the swap must not wait for reports to an owner that is slow or away.
        await asyncio.wait([sending], timeout=0.5)
    finally:
        reporter.drop()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


async def _train_and_write(resources: WorkerResources, job: RoundJob, reporter: ProgressReporter) -> WrittenRound:
    """Train, and write the adapter.

    Raises:
        TrainingDroppedError: the owner dropped the round, or the run is over.
    """
    trainer = resources.trainer
    owner_folder = Path(job.folder)
    shared = resources.shares_folder and owner_folder.parent.is_dir()
    folder = owner_folder if shared else resources.own_folder / "new" / owner_folder.name
    previous = await _fetch_previous(resources, job)
    training_round = TrainingRound(
        pairs=tuple((sample.prompt, sample.answer) for sample in job.samples),
        learning_rate=job.learning_rate,
        seed=job.seed,
        previous=previous,
        folder=folder,
    )
    trained = await run_in_thread(
        lambda: trainer.train_weights(training_round, reporter),
        nice=LOWEST if resources.nice else 0,
        threads=resources.threads,
    )
    if not reporter.should_continue():
        raise TrainingDroppedError("The round was dropped.")
    if not shared:
        folder.parent.mkdir(parents=True)
    try:
        # Not at LOWEST: from here on the swap waits for this thread.
        nice = LOW if resources.nice else 0
        sha256 = await _save_patiently(resources, folder, reporter, nice)
    except FolderGoneError:
        raise TrainingDroppedError("The run is over.") from None
    if not reporter.should_continue():
        if shared and folder.exists():  # it was not handed in, so nobody reads it
            shutil.rmtree(folder)
        raise TrainingDroppedError("The round was dropped.")
    return WrittenRound(folder, sha256, trained)


async def _save_patiently(resources: WorkerResources, folder: Path, reporter: ProgressReporter, nice: int) -> str:
    """Write the adapter, again and again while the disk takes nothing: the training is done, and the lease is kept.

    Raises:
        TrainingDroppedError: the owner dropped the round meanwhile.
    """
    noticed = False
    while True:
        try:
            return await run_in_thread(
                lambda: resources.trainer.save_adapter(folder), nice=nice, threads=resources.threads
            )
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            if not noticed:
                reporter.on_notice(f"The adapter is trained and cannot be written ({error.strerror}). Make room.")
                noticed = True
        if not reporter.should_continue():
            raise TrainingDroppedError("The round was dropped.")
        await asyncio.sleep(SAVE_AGAIN_SECONDS)


async def _fetch_previous(resources: WorkerResources, job: RoundJob) -> PreviousAdapter | None:
    """The adapter that training continues: in the trainer's memory, in the shared folder, or fetched from the owner."""
    if job.previous is None:
        return None
    folder = Path(job.previous.path)
    in_memory = resources.trainer.holds(job.previous.sha256)
    if not in_memory and not (resources.shares_folder and (folder / WEIGHTS_FILE).is_file()):
        folder = resources.own_folder / "previous"
        try:
            archive = await resources.owner.download(job, job.previous)
        except OwnerRefusedError as refusal:
            # Reported, so that the round is offered again at once, with what there is by then.
            raise PreviousAdapterGoneError(f"The adapter to go on from cannot be fetched: {refusal}") from None
        unpack(io.BytesIO(archive), folder, job.previous.sha256)
    return PreviousAdapter(folder, job.previous.sha256)


async def _hand_in_and_measure(resources: WorkerResources, job: RoundJob, written: WrittenRound) -> None:
    """Hand the adapter in, and measure the model with it meanwhile, so that the swap does not wait for that."""
    # Not at LOWEST: the next round waits for it, and what is shown of the language's life.
    nice = LOW if resources.nice else 0
    measuring = asyncio.create_task(
        run_in_thread(resources.trainer.measure_model, nice=nice, threads=resources.threads)
    )
    handing_in = asyncio.create_task(_hand_in(resources, job, written))
    try:
        # Both, whatever the first brings: while its thread computes, nothing else may use the model.
        await asyncio.wait([handing_in, measuring])
    finally:
        handing_in.cancel()
        measuring.cancel()
    unexpected = measuring.exception()  # taken out of the task, which would log its text
    accepted = await handing_in
    if unexpected is not None:
        raise unexpected
    if accepted:
        await resources.owner.report_measures(job, measures_of(measuring.result()))


async def _hand_in(resources: WorkerResources, job: RoundJob, written: WrittenRound) -> bool:
    """Returns whether the adapter is accepted.  Raises OwnerRefusedError."""
    folder, sha256, trained = written.folder, written.sha256, written.trained

    def message() -> HandIn:
        return HandIn(
            path=str(folder),
            sha256=sha256,
            tokens=trained.tokens,
            train_seconds=trained.seconds,
            seconds_since_last_step=time.monotonic() - trained.last_step_at,
            loss_first=trained.losses[0],
            loss_last=trained.losses[-1],
        )

    reply = await resources.owner.hand_in(job, message)
    if reply.upload:
        archive = io.BytesIO()
        pack(folder, archive)
        await resources.owner.upload(job, archive.getvalue(), sha256)
        reply = await resources.owner.hand_in(job, message)
    if reply.accepted:
        log.info("Round %d was accepted: %.1f s, %d tokens", job.iteration, trained.seconds, trained.tokens)
    else:
        log.warning("Round %d was not accepted: %s", job.iteration, reply.reason)
    return reply.accepted


async def _report_failure(resources: WorkerResources, job: RoundJob, reason: str) -> None:
    try:
        await resources.owner.report_failure(job, reason)
    except OwnerRefusedError as refusal:
        log.warning("Round %d was taken from this worker: %s", job.iteration, refusal)
