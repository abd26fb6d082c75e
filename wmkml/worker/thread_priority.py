"""Runs work in a thread of its own, at a lower priority if wanted, while the event loop goes on.

On Linux a priority belongs to a thread: the event loop keeps its own, so that requests to the owner stay quick.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import torch

ResultT = TypeVar("ResultT")

LOWEST = 19
"""Nice value for training: it yields to everything else on the machine."""

LOW = 10
"""Nice value for writing an adapter, which a swap waits for: behind inference, ahead of everything at LOWEST."""

THREAD_NAME = "training"
"""The name of all threads that are started here."""


async def run_in_thread(work: Callable[[], ResultT], *, nice: int, threads: int) -> ResultT:
    """Call `work` in a new thread; returns its result or raises its exception.

    Cancelling this does not end the thread.  It is a daemon thread, so it does not keep the process alive.

    Args:
        nice: the thread's nice value, from 0 to LOWEST; ignored outside Linux.
        threads: CPU threads that torch may use in it; 0: torch's own choice.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[ResultT] = loop.create_future()

    def settle(result: ResultT | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        if nice and sys.platform == "linux":
            os.nice(nice)
        if threads:
            torch.set_num_threads(threads)
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - raised again in the caller's coroutine
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=THREAD_NAME, daemon=True).start()
    return await future
