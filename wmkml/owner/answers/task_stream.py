"""The events of a task of the run as an async iterator; the task ends with the run and with its consumer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from wmkml.owner.run.live_run import LiveRun, RunOverError

Event = TypeVar("Event")


async def stream_task(
    run: LiveRun, work: Callable[[Callable[[Event], None]], Coroutine[Any, Any, None]], last: type[Any]
) -> AsyncGenerator[Event, None]:
    """Run `work` as a task of the run and yield each event it emits, up to the first of type `last`.

    Closing the iterator cancels the task.

    Args:
        work: is called with the function that emits an event.

    Raises:
        RunOverError: the run ended meanwhile.
        Whatever `work` raises.
    """
    channel: asyncio.Queue[Event | BaseException] = asyncio.Queue()
    task = run.spawn(work(channel.put_nowait), watched=False)
    task.add_done_callback(functools.partial(_forward_end, channel))
    try:
        while True:
            event = await channel.get()
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, last):
                return
    finally:
        task.cancel()


def _forward_end(channel: asyncio.Queue[Event | BaseException], task: asyncio.Task[None]) -> None:
    if task.cancelled():
        channel.put_nowait(RunOverError())
    elif (error := task.exception()) is not None:
        channel.put_nowait(error)
