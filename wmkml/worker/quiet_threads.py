"""Work in a thread of its own, of lower priority on a CPU, while the event loop goes on.

The priority is the thread's alone (Linux): speaking to the owner stays as quick as ever, which is what a swap waits for.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

LOWEST = 19
LOW = 10
"""For what a swap waits for: behind those who answer visitors, and before everything of the lowest priority."""


async def apart(work: Callable[[], Result], *, nice: int, threads: int) -> Result:
    """The result, or the exception, of `work`, called in a new thread.

    When this is cancelled the thread goes on by itself; it is a daemon, so it keeps no process alive.

    Args:
        nice: how much lower its priority is, from 0 to LOWEST.
        threads: CPU threads torch may use in it; 0 leaves that alone.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
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
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the work was asked for
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="training", daemon=True).start()
    return await future
