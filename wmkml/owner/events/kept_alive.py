"""Keeping a reply open that has nothing to say for a while: providers' proxies cut a connection that is silent for 100 s."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from wmkml.owner.events import event_hub

SILENT_SECONDS = 60.0
"""A reply that cannot begin within this time begins without an answer: its status is decided then, and it is kept alive."""

COMMENT = ": still here\n\n"
"""Nothing, in the wire format of server-sent events."""

SPACE = " "
"""Nothing, before a JSON text (RFC 8259, section 2)."""


async def kept_alive(parts: AsyncIterator[str], nothing: str = COMMENT) -> AsyncGenerator[str, None]:
    """The same parts, and `nothing` whenever there was none for `KEEP_ALIVE_SECONDS`.  Closing it cancels what makes them."""
    part: asyncio.Future[str] | None = None
    try:
        while True:
            part = asyncio.ensure_future(anext(parts))
            while not (await asyncio.wait([part], timeout=event_hub.KEEP_ALIVE_SECONDS))[0]:
                yield nothing
            try:
                text = part.result()
            except StopAsyncIteration:
                return
            yield text
    finally:
        if part is not None:
            part.cancel()
            # One that has just ended too: else asyncio logs its end as an error that nobody heard of.
            await asyncio.gather(part, return_exceptions=True)


async def done_soon(reply: asyncio.Future[Any]) -> bool:
    """Whether this is done, failed or not, within `SILENT_SECONDS`.  It is cancelled with the caller."""
    try:
        return bool((await asyncio.wait([reply], timeout=SILENT_SECONDS))[0])
    except asyncio.CancelledError:
        reply.cancel()
        raise
