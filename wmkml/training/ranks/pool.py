"""Start the ranks of a training, call a function on all of them, and end them: with the call, or when one is lost.

For a command that trains once:

    def learn(seat: RankSeat, watcher: Watcher, folder: Path, recipe: Recipe) -> TrainingResult:
        model, samples = ...                       # on seat.device, the same on every rank
        result = train(model, samples, recipe, watcher, seat.group)
        if seat.group.rank == 0:
            ...                                    # write; the weights are the same everywhere
        return result

    result = run_on_ranks(learn, RankPlan(size=2, gpus=True), watcher, folder, recipe)[0]

`learn` must be a function of a module, for every rank is a new Python process that imports it; arguments and results are
pickled.  The watcher stays here: rank 0's steps and notices arrive at it, and its `should_continue` stops all ranks.  For a
model that does not fit one device give `lockstep=True` and load it with `wmkml.training.ranks.sharding.load_sharded_base`.

The processes are multiprocessing's own, started anew ("spawn"), for CUDA cannot be forked.  They end with this process, however
it ends.  A rank that dies, fails or stands still ends them all with a RankLostError: what NCCL waits for cannot be called back,
but its process can be killed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from wmkml.training.loop import NullWatcher, OptimizerStep, Watcher
from wmkml.training.ranks.process import Call, Failed, Raised, RankPlan, RankSeat, Returned, Stop, run_rank

log = logging.getLogger(__name__)

WorkT = TypeVar("WorkT")
ResultT = TypeVar("ResultT")

POLL_SECONDS = 0.1
"""How often the watcher is asked whether to go on, and the clocks are looked at."""

GRACE_SECONDS = 20.0
"""How long the other ranks may take to come to the same error, before they are ended."""

CAUSE_SECONDS = 1.0
"""How long a failure waits for the end of a process that may have caused it."""


class RankLostError(RuntimeError):
    """A rank died, failed unexpectedly or stands still; all were ended.  The text is a sentence without a sample's words."""


class RankMemoryError(RankLostError):
    """Memory ran out on a rank while others waited for it amid their common work; all were ended."""


class RankPool(Generic[WorkT]):
    """Ranks that are started once and called many times; used by one thread at a time."""

    def __init__(self, plan: RankPlan) -> None:
        """Nothing is started yet."""
        self.plan = plan
        # Linux ends a child with the thread that started it, and gives it that thread's priority; so all are started by
        # a thread that lasts, and that has the priority of whoever starts them first.
        self._starter = ThreadPoolExecutor(1, "ranks")
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        # Before multiprocessing's own, which sends SIGTERM, and waits for ranks that do not heed it.
        atexit.register(self.close)

    @property
    def alive(self) -> bool:
        """Whether all ranks are there to be called."""
        return bool(self._processes) and all(process.is_alive() for process in self._processes)

    @property
    def process_ids(self) -> list[int]:
        """Of the ranks' processes, in their order."""
        return [process.pid for process in self._processes if process.pid is not None]

    def start(self, build: Callable[[RankSeat], WorkT]) -> None:
        """Start the ranks, after ending those there were, and return when each has built its work.

        Args:
            build: makes what calls work with, once on every rank; a function of a module, or a `partial` of one.

        Raises:
            RankLostError: one did not come so far; and each of the plan's expected errors.
        """
        self.close()
        context = multiprocessing.get_context("spawn")
        folder = Path(tempfile.mkdtemp(prefix="wmkml-ranks-"))
        try:
            for rank in range(self.plan.size):
                here, there = context.Pipe()
                arguments = (build, self.plan, rank, there, folder / "meeting", os.getpid())
                process = context.Process(target=run_rank, args=arguments, name=f"rank-{rank}", daemon=True)
                self._processes.append(process)
                self._connections.append(here)
                self._starter.submit(process.start).result()
                there.close()
            self._answers(NullWatcher(), self.plan.loading_seconds, "load the model")
        except BaseException:
            self.close()
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def call(self, function: Callable[..., ResultT], watcher: Watcher, *arguments: Any) -> list[ResultT]:
        """Call `function(work, watcher, *arguments)` on every rank; returns their results, by rank.

        Raises:
            RankMemoryError, RankLostError: a rank was lost; there are none to be called until `start`.
            Exception: an expected error, of the first rank that raised one; the ranks live on if all came to their end.
        """
        if not self.alive:
            self.close()
            raise RankLostError(f"One of {self.plan.size} training processes has ended by itself; its log may say why.")
        for connection in self._connections:
            # A rank that has just died is noticed below.
            with contextlib.suppress(OSError):
                connection.send(Call(function, arguments))
        return self._answers(watcher, self.plan.silent_seconds, "train")

    def close(self) -> None:
        """End all ranks."""
        # At a service's end another thread may be amid a call.
        processes, self._processes = self._processes, []
        connections, self._connections = self._connections, []
        for process in processes:
            if process.pid is not None:
                process.kill()
        for process in processes:
            if process.pid is not None:
                process.join()
        for connection in connections:
            connection.close()

    def _answers(self, watcher: Watcher, patience: float, doing: str) -> list[Any]:
        """Wait until every rank has answered; ends them all and raises where one does not."""
        answers = _Answers(self, watcher, patience, doing)
        try:
            answers.collect(self._processes, self._connections)
        except BaseException as error:
            if isinstance(error, RankLostError) and self._processes:
                log.error("%s", error)
            # What the ranks do now nobody would hear of, nor tell it from the next call.
            self.close()
            raise
        if answers.errors:
            raise answers.errors[min(answers.errors)]
        return [answers.results[rank] for rank in range(self.plan.size)]


class _Answers:
    """The answers of one call, as they come in."""

    def __init__(self, pool: RankPool[Any], watcher: Watcher, patience: float, doing: str) -> None:
        self._size = pool.plan.size
        self._watcher, self._patience, self._doing = watcher, patience, doing
        self.results: dict[int, Any] = {}
        self.errors: dict[int, Exception] = {}
        self._heard_at = dict.fromkeys(range(self._size), time.monotonic())

    def collect(self, processes: list[BaseProcess], connections: list[Connection]) -> None:
        """Receive until every rank has come to its end; raises RankLostError where one does not."""
        stopped, failed_at = False, None
        while len(self.results) + len(self.errors) < self._size:
            waiting = [rank for rank in range(self._size) if rank not in self.results and rank not in self.errors]
            ready = wait([connections[rank] for rank in waiting], POLL_SECONDS)
            for rank in waiting:
                if connections[rank] in ready:
                    self._receive(rank, processes, connections[rank])
            if self.errors:
                failed_at = failed_at or time.monotonic()
                if time.monotonic() - failed_at > GRACE_SECONDS:
                    # The others wait for it in a common operation.
                    raise self._lost(str(next(iter(self.errors.values()))).rstrip("."))
            if not stopped and not self._watcher.should_continue():
                stopped = True
                for connection in connections:
                    with contextlib.suppress(OSError):
                        connection.send(Stop())
            self._check_patience(waiting)

    def _receive(self, rank: int, processes: list[BaseProcess], connection: Connection) -> None:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            processes[rank].join(GRACE_SECONDS)
            raise self._dead(rank, processes[rank]) from None
        self._heard_at[rank] = time.monotonic()
        match message:
            case OptimizerStep():
                self._watcher.on_step(message)
            case str():
                self._watcher.on_notice(message)
            case Returned(value):
                self.results[rank] = value
            case Raised(error):
                self.errors[rank] = error
            case Failed(kind, out_of_memory):
                if out_of_memory:
                    raise RankMemoryError(f"Memory ran out on process {rank} of the {self._size} that train together.")
                # gloo fails in the others too when a process dies, and they may be heard of first.
                wait([process.sentinel for process in processes], CAUSE_SECONDS)
                for number, process in enumerate(processes):
                    if not process.is_alive():
                        raise self._dead(number, process)
                raise self._lost(f"process {rank} of {self._size} failed with an unexpected {kind}; its log says where")

    def _check_patience(self, waiting: list[int]) -> None:
        silent = time.monotonic() - max(self._heard_at.values())
        if silent > self._patience and waiting:
            first = min(waiting, key=lambda rank: self._heard_at[rank])
            raise self._lost(f"none went on for {silent:.0f} s, process {first} of {self._size} fell silent first")

    def _dead(self, rank: int, process: BaseProcess) -> RankLostError:
        return self._lost(f"process {rank} of {self._size} ended by {_ending(process)}")

    def _lost(self, reason: str) -> RankLostError:
        return RankLostError(f"The processes that {self._doing} together were ended: {reason}.")


def run_on_ranks(function: Callable[..., ResultT], plan: RankPlan, watcher: Watcher, *arguments: Any) -> list[ResultT]:
    """Start ranks, call `function(seat, watcher, *arguments)` on each, and end them; returns the results, by rank.

    Raises:
        RankLostError, and the plan's expected errors: as `RankPool`.
    """
    pool = RankPool[RankSeat](plan)
    try:
        pool.start(_seated)
        return pool.call(function, watcher, *arguments)
    finally:
        pool.close()


def _seated(seat: RankSeat) -> RankSeat:
    return seat


def _ending(process: BaseProcess) -> str:
    code = process.exitcode
    return f"signal {-code}" if code is not None and code < 0 else f"itself, with status {code}"
