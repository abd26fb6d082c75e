"""Wires the worker: settings to a trainer, a client for the owner, and the loop that claims and runs rounds.

The worker waits while the owner cannot be reached, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import uuid
from pathlib import Path

import torch

from wmkml.access.keys import KeysUnreadableError, load_keys
from wmkml.access.tls import CertificateError, owner_verification
from wmkml.config import Settings
from wmkml.config.addresses import inference_url, owner_url
from wmkml.config.cpu_threads import worker_threads
from wmkml.config.logs import configure_logging
from wmkml.config.paths import Paths, paths_of
from wmkml.config.planned import PlannedTraining, planned_training
from wmkml.protocol.training import Claim, ModelMeasures, RoundJob
from wmkml.system.cores import usable_cores
from wmkml.system.memory import no_garbage_collection
from wmkml.system.orphans import end_marked_processes, mark_this_process, service_mark
from wmkml.training.base_model import BaseMissingError
from wmkml.training.loop import MemoryExhaustedError
from wmkml.training.lora import ModulesMissingError
from wmkml.training.optimizers import OptimizerMissingError
from wmkml.training.ranks.pool import RankLostError
from wmkml.training.rounds import Trainer
from wmkml.training.trainer_factory import DevicesMissingError, make_ranked_trainer, make_trainer
from wmkml.worker.owner_client import FIRST_WAIT, LONGEST_WAIT, OwnerAwayError, OwnerRefusedError, WorkerOwnerClient
from wmkml.worker.planned_device import GpuMissingError, cap_memory, require_planned_gpus, wait_for_engine
from wmkml.worker.round_runner import UnexpectedError, WorkerResources, measures_of, run_round
from wmkml.worker.thread_priority import THREAD_NAME, run_in_thread

log = logging.getLogger(__name__)

KEY_VARIABLE = "WMKML_WORKER_KEY"
"""Environment variable that overrides the key file: a worker on another machine has no key file."""

REFUSED_WAIT = 5.0
"""Seconds between two claims to an owner that refuses them."""

SETUP_ERRORS = (
    BaseMissingError,
    DevicesMissingError,
    GpuMissingError,
    KeysUnreadableError,
    MemoryExhaustedError,
    ModulesMissingError,
    OptimizerMissingError,
    RankLostError,
)
"""These settings cannot work on this machine.  Their texts are sentences for the operator."""

THREAD_JOIN_SECONDS = 2.0
"""Seconds a training thread may take to end before the process ends without it."""


def serve(settings: Settings, root: Path, owner: str | None = None) -> int:
    """Claim and run rounds until SIGTERM or SIGINT.

    Args:
        owner: the owner's URL; None: on this machine, at the port of the settings.

    Returns:
        0 after a signal, 1 after an unexpected failure (supervision starts a new process), 2 when these settings
        cannot work.
    """
    configure_logging(settings.general, "worker")
    for name in ("httpx", "httpcore", "urllib3", "filelock"):
        logging.getLogger(name).setLevel(logging.WARNING)
    planned, paths, url = planned_training(os.environ), paths_of(settings, root), owner or owner_url(settings)
    try:
        owner_verification(paths)
    except CertificateError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        require_planned_gpus(planned)
        status = asyncio.run(_serve(settings, paths, url, planned))
    except SETUP_ERRORS as error:
        # The desk shows it; the sentence is the last line of the log all the same, which the launcher shows.
        asyncio.run(_report_unable(settings, paths, url, str(error)))
        print(error, file=sys.stderr)
        return 2
    training = [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]
    for thread in training:
        thread.join(THREAD_JOIN_SECONDS)
    if any(thread.is_alive() for thread in training):
        # A thread inside a matrix product cannot be ended, and the interpreter cannot exit cleanly while it runs.
        sys.stderr.flush()
        os._exit(status)
    return status


async def _serve(settings: Settings, paths: Paths, url: str, planned: PlannedTraining) -> int:
    gpu = torch.cuda.is_available()
    threads = worker_threads(settings, usable_cores(), gpu=gpu)
    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)
    working = asyncio.create_task(_work(settings, paths, url, planned, threads, nice=not gpu))
    stopping = asyncio.create_task(stop_requested.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        log.info("Stopping.")
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return 0
    return working.result()


async def _work(
    settings: Settings, paths: Paths, url: str, planned: PlannedTraining, threads: int, *, nice: bool
) -> int:
    """Claim and run rounds for ever; returns the exit status 1 after an unexpected failure."""
    finetuning = settings.finetuning
    own_folder = paths.data / "worker"
    if own_folder.exists():
        # A worker that was killed may have left an adapter here, which learned from visitors' words.
        shutil.rmtree(own_folder)
    if planned.share is not None:
        await wait_for_engine(inference_url(settings))
        cap_memory(planned.share)
    # Normal priority: loading happens once, and at the lowest priority it would take minutes on a busy machine.
    devices = finetuning.devices or max(1, torch.cuda.device_count())
    if devices > 1:
        # Nothing of an earlier worker may hold a GPU; a rank ends with its worker, but not at once.
        mark = service_mark("worker", paths.data)
        end_marked_processes(mark, grace_seconds=0)
        mark_this_process(mark)
    trainer = await run_in_thread(
        lambda: _make_trainer(settings, paths.model, devices, threads, nice), nice=0, threads=threads
    )
    of_base = await run_in_thread(trainer.measure_base, nice=0, threads=threads)
    trainer.release_memory()
    owner = _owner_client(settings, paths, url, measures_of(of_base))
    resources = WorkerResources(trainer, owner, own_folder, finetuning.worker_shares_folder, nice, threads)
    log.info("Claiming rounds at %s", url)
    try:
        while True:
            if (job := await _claim(owner)) is not None:
                await run_round(resources, job)
    except UnexpectedError:
        return 1
    finally:
        trainer.close()
        await owner.close()


def _make_trainer(settings: Settings, model: Path, devices: int, threads: int, nice: bool) -> Trainer:
    if devices == 1:
        with no_garbage_collection():  # the libraries import what this model needs
            return make_trainer(settings, model)
    return make_ranked_trainer(settings, model, devices, threads=threads, nice=nice)


def _owner_client(
    settings: Settings, paths: Paths, url: str, base_measures: ModelMeasures | None = None
) -> WorkerOwnerClient:
    shares = settings.finetuning.worker_shares_folder
    claim = Claim(
        worker=socket.gethostname(), session=uuid.uuid4().hex, shares_folder=shares, base_measures=base_measures
    )
    return WorkerOwnerClient(
        url, lambda: os.environ.get(KEY_VARIABLE) or load_keys(paths).worker, claim, owner_verification(paths)
    )


async def _report_unable(settings: Settings, paths: Paths, url: str, reason: str) -> None:
    """Tell the owner why this worker ends, if it can be told."""
    owner = _owner_client(settings, paths, url)
    try:
        await owner.report_unable(reason)
    except (OwnerAwayError, OwnerRefusedError, KeysUnreadableError) as error:
        log.warning("The owner could not be told: %s", error)
    finally:
        await owner.close()


async def _claim(owner: WorkerOwnerClient) -> RoundJob | None:
    """One claim; repeated while the owner cannot be reached or refuses it.  None: the owner has no round now."""
    wait = FIRST_WAIT
    while True:
        try:
            return await owner.claim()
        except OwnerAwayError:
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        except OwnerRefusedError as refusal:
            hint = f" Is {KEY_VARIABLE} the owner's worker key?" if refusal.status in (401, 403) else ""
            log.error("The owner refuses the claim: %s%s", refusal, hint)
            await asyncio.sleep(REFUSED_WAIT)
