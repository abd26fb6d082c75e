"""The worker's one visible place of wiring: settings to a trainer, an owner to claim from, and the loop between them.

Claims a round, carries it out, claims the next; waits while the owner is away and leaves when it is told to.
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

from wmkml import wire
from wmkml.addresses import owner_url
from wmkml.config import Settings
from wmkml.cores import usable_cores, worker_threads
from wmkml.keys import KeysUnreadable, load_keys
from wmkml.places import Places, places
from wmkml.training.base import BaseMissing
from wmkml.training.building import make_trainer
from wmkml.training.lora import ModulesMissing
from wmkml.training.optimizers import OptimizerMissing
from wmkml.worker.carrying import Bench, Unexpected, carry_out
from wmkml.worker.owner_client import FIRST_WAIT, LONGEST_WAIT, OwnerAway, OwnerClient, OwnerRefuses
from wmkml.worker.quiet_threads import apart

log = logging.getLogger(__name__)

KEY_VARIABLE = "WMKML_WORKER_KEY"
"""Where the worker's key is looked for first: on another machine there is no key file."""

REFUSED_WAIT = 5.0
"""Seconds before an owner that refused a claim is asked again."""

THREAD_PATIENCE = 2.0
"""Seconds a training has to notice that the worker leaves."""


def serve(settings: Settings, root: Path, owner: str | None = None) -> int:
    """Work until SIGTERM or SIGINT.

    Args:
        owner: URL of the owner; None: on this machine, where the settings say.

    Returns:
        0 when told to leave, 1 after a failure that only a new process mends, 2 when these settings cannot work.
    """
    logging.basicConfig(level=settings.general.logging, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "urllib3", "filelock"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        status = asyncio.run(_serve(settings, places(settings, root), owner or owner_url(settings)))
    except (BaseMissing, ModulesMissing, OptimizerMissing, KeysUnreadable) as error:
        print(error, file=sys.stderr)
        return 2
    training = [thread for thread in threading.enumerate() if thread.daemon and thread.name == "training"]
    for thread in training:
        thread.join(THREAD_PATIENCE)
    if any(thread.is_alive() for thread in training):
        # A thread inside a matrix product cannot be ended, and Python cannot end neatly around it.
        sys.stderr.flush()
        os._exit(status)
    return status


async def _serve(settings: Settings, where: Places, url: str) -> int:
    gpu = torch.cuda.is_available()
    threads = worker_threads(settings, usable_cores(), gpu=gpu)
    leaving = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leaving.set)
    working = asyncio.create_task(_work(settings, where, url, threads, nice=not gpu))
    told = asyncio.create_task(leaving.wait())
    await asyncio.wait([working, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not working.done():
        log.info("Leaving.")
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return 0
    return working.result()


async def _work(settings: Settings, where: Places, url: str, threads: int, *, nice: bool) -> int:
    """Claim and carry out, for ever; returns the exit status when only a new process helps."""
    tuning = settings.finetuning
    own_folder = where.data / "worker"
    if own_folder.exists():
        # A worker that was killed may have left an adapter here that learned a visitor's words.
        shutil.rmtree(own_folder)
    # Loading is short and once; of the lowest priority it would take minutes on a busy machine.
    trainer = await apart(lambda: make_trainer(settings, where.model), nice=0, threads=threads)
    claim = wire.Claim(worker=socket.gethostname(), session=uuid.uuid4().hex, shares_folder=tuning.worker_shares_folder)
    owner = OwnerClient(url, lambda: os.environ.get(KEY_VARIABLE) or load_keys(where).worker, claim)
    bench = Bench(trainer, owner, own_folder, tuning.worker_shares_folder, nice, threads)
    log.info("Claiming rounds at %s", url)
    try:
        while True:
            if (job := await _claimed(owner)) is not None:
                await carry_out(bench, job)
    except Unexpected:
        return 1
    finally:
        await owner.close()


async def _claimed(owner: OwnerClient) -> wire.RoundJob | None:
    """One claim's answer, however long the owner is away."""
    wait = FIRST_WAIT
    while True:
        try:
            return await owner.claim()
        except OwnerAway:
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        except OwnerRefuses as refusal:
            hint = f" Is {KEY_VARIABLE} the owner's worker key?" if refusal.status in (401, 403) else ""
            log.error("The owner refuses the claim: %s%s", refusal, hint)
            await asyncio.sleep(REFUSED_WAIT)
