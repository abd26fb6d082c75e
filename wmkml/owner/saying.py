"""What a task of the run says, handed on as it says it.  The task ends with the run, and with whoever listens.

Knows neither answers nor cards.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from wmkml.owner.live_run import LiveRun, RunOver

Said = TypeVar("Said")


async def said_by(
    run: LiveRun, work: Callable[[Callable[[Said], None]], Coroutine[Any, Any, None]], last: type[Any]
) -> AsyncGenerator[Said, None]:
    """All that `work` says through the function it is given, up to the first thing of the type `last`.

    Closing it cancels the work.

    Raises:
        RunOver: the run ended meanwhile.
        Whatever the work raises.
    """
    channel: asyncio.Queue[Said | BaseException] = asyncio.Queue()
    task = run.spawn(work(channel.put_nowait), watched=False)
    task.add_done_callback(functools.partial(_tell_how_it_ended, channel))
    try:
        while True:
            said = await channel.get()
            if isinstance(said, BaseException):
                raise said
            yield said
            if isinstance(said, last):
                return
    finally:
        task.cancel()


def _tell_how_it_ended(channel: asyncio.Queue[Said | BaseException], task: asyncio.Task[None]) -> None:
    if task.cancelled():
        channel.put_nowait(RunOver())
    elif (error := task.exception()) is not None:
        channel.put_nowait(error)
