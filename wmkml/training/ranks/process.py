"""What runs in the process of a rank: it joins the others, builds its work once, and answers calls until the pipe closes.

Nothing that a call was given is written anywhere: an exception that is not expected is logged by its type and its lines
of code alone, for its text may quote a sample.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from wmkml.system.parent_process import end_with_parent
from wmkml.training.loop import OptimizerStep
from wmkml.training.out_of_memory import is_out_of_memory
from wmkml.training.ranks.group import RankGroup

log = logging.getLogger(__name__)

ALIVE_SECONDS = 1.0
"""A rank says at most this often that it goes on."""

LOWEST_PRIORITY = 19
"""Nice value of ranks on a CPU: they yield to everything else on the machine."""


@dataclass(frozen=True)
class RankSeat:
    """What a rank is given to build its work with: its place among the others, and its device."""

    group: RankGroup
    device: torch.device


@dataclass(frozen=True)
class RankPlan:
    """How ranks are started.

    Attributes:
        size: number of ranks, one for each device.
        lockstep: each holds a part of the model (`wmkml.training.ranks.sharding`).
        gpus: the ranks compute on the first `size` GPUs that this process sees; else on the CPU.
        threads: CPU threads of each rank; 0: torch's own choice.
        nice: ranks yield to other processes.
        loading_seconds: how long building their work may take.
        silent_seconds: how long all ranks may go on with no micro-batch before they are given up.
        expected: errors whose texts may be shown; they are raised by the pool as they are.
    """

    size: int
    lockstep: bool = False
    gpus: bool = False
    threads: int = 0
    nice: bool = False
    loading_seconds: float = 3600.0
    silent_seconds: float = 300.0
    expected: tuple[type[Exception], ...] = ()


@dataclass(frozen=True)
class Call:
    """A function to call on every rank, with the rank's work, its watcher and these arguments."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Stop:
    """The watcher stops the call under way."""


@dataclass(frozen=True)
class Alive:
    """The rank goes on."""


@dataclass(frozen=True)
class Returned:
    """The call came to its end; the first one is that of building the work."""

    value: Any = None


@dataclass(frozen=True)
class Raised:
    """The call raised an expected error."""

    error: Exception


@dataclass(frozen=True)
class Failed:
    """The rank ends, for an error that nobody expected (its type), or for memory that ran out amid the common work."""

    kind: str
    out_of_memory: bool


class RankWatcher:
    """The watcher that a call's function is given on its rank: rank 0 reports, each hears of a stop."""

    def __init__(self, connection: Connection, group: RankGroup) -> None:
        self._connection = connection
        self._reports = group.rank == 0
        self._alive_at = 0.0
        self._stopped = False

    def should_continue(self) -> bool:
        """Whether nobody has stopped the call; says at the same time that this rank goes on."""
        if not self._stopped and self._connection.poll():
            self._stopped = isinstance(self._connection.recv(), Stop)
        if time.monotonic() - self._alive_at >= ALIVE_SECONDS:
            self._connection.send(Alive())
            self._alive_at = time.monotonic()
        return not self._stopped

    def on_step(self, step: OptimizerStep) -> None:
        """Pass it on to the caller's watcher."""
        if self._reports:
            self._connection.send(step)

    def on_notice(self, sentence: str) -> None:
        """Pass it on to the caller's watcher."""
        if self._reports:
            self._connection.send(sentence)


def run_rank(
    build: Callable[[RankSeat], Any], plan: RankPlan, rank: int, connection: Connection, meeting: Path, parent: int
) -> None:
    """The whole life of a rank's process.

    Args:
        build: makes what calls work with.
        connection: to the pool, which sends calls and closes it at the end.
        meeting: a file, not there yet, over which the ranks find each other.
        parent: process id of the pool.
    """
    # Ctrl-C and a service manager signal the whole group: the pool ends its ranks, and knows then why they ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(parent, signal.SIGKILL)
    level = logging.INFO if rank == 0 else logging.WARNING
    form = f"%(asctime)s %(levelname)s %(name)s (rank {rank}): %(message)s"
    logging.basicConfig(level=level, format=form)
    seat = RankSeat(RankGroup(rank, plan.size, plan.lockstep), _device(plan, rank))
    try:
        _join(plan, rank, meeting)
        work = build(seat)
        if plan.nice:
            os.nice(LOWEST_PRIORITY)
    except plan.expected as error:
        connection.send(Raised(error))
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the pool must not wait for it
        _fail(connection, error)
        return
    connection.send(Returned())
    while (call := _next_call(connection)) is not None:
        try:
            value = call.function(work, RankWatcher(connection, seat.group), *call.arguments)
        except plan.expected as error:
            connection.send(Raised(error))
        except Exception as error:  # noqa: BLE001 - as above
            _fail(connection, error)
            return
        else:
            connection.send(Returned(value))


def _join(plan: RankPlan, rank: int, meeting: Path) -> None:
    torch.set_num_threads(plan.threads or max(1, torch.get_num_threads() // plan.size))
    # All ranks are on this machine: no port is opened to others, and no name of a network card is guessed.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    if plan.gpus:
        torch.cuda.set_device(rank)
    # Numbers on the CPU go by gloo also beside GPUs, so that agreeing on something does not wait for a GPU.
    backend = "cpu:gloo,cuda:nccl" if plan.gpus else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=plan.size)


def _device(plan: RankPlan, rank: int) -> torch.device:
    return torch.device("cuda", rank) if plan.gpus else torch.device("cpu")


def _next_call(connection: Connection) -> Call | None:
    """The next call; None when the pool has closed the pipe."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return None
        # A stop that came after its call had ended is over.
        if isinstance(message, Call):
            return message


def _fail(connection: Connection, error: Exception) -> None:
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("Unexpected %s:\n%s", type(error).__name__, frames)
    connection.send(Failed(type(error).__name__, is_out_of_memory(error)))
    # Others may wait for this rank inside a common operation; the pool ends them all, and this process must not begin
    # to tear down what they share.
    threading.Event().wait()
