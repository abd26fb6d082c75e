"""Knows whether inference is there, lets callers wait for it, and has it restored when it comes back.

Inference that was away has lost its adapters; whoever wires this gives the function that loads them again.  Knows
nothing of adapters or runs itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from wmkml.owner.inference_client import Absent, Away, InferenceClient, Refused

log = logging.getLogger(__name__)

Seen = Literal["there", "loading", "absent", "silent", "refuses"]

LOOK_SECONDS = 0.25
PATIENCE = 4
"""So many looks in a row must fail before an inference that was ready counts as away; a busy one may miss one."""


class InferenceWatch:
    """The gate before inference: open while it is ready and holds what it should."""

    def __init__(
        self,
        client: InferenceClient,
        restore: Callable[[], Awaitable[None]],
        absent: Callable[[], None],
        changed: Callable[[bool], None],
    ) -> None:
        """Args:
        restore: called whenever inference is there again, before the gate opens; may raise Away.
        absent: called when nobody listens at its port: no adapter is open anywhere.
        changed: called with the new state when the gate opens or closes.
        """
        self._client, self._restore, self._absent, self._changed = client, restore, absent, changed
        self._open = asyncio.Event()
        self._doubt = asyncio.Event()
        self.engine = ""
        self.seen: Seen = "absent"
        """What the last look found."""
        self.since = time.monotonic()
        """When the gate was opened or closed last."""
        self.restores = 0
        """How often inference was restored: an adapter that was loaded before the last time may be lost."""

    @property
    def ready(self) -> bool:
        """Whether inference answers and holds what it should."""
        return self._open.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the gate is open; false if it is not after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._open.wait()
        except TimeoutError:
            return False
        return True

    def lost(self) -> None:
        """Somebody saw inference break, or the run has changed: close the gate until it is restored."""
        if self._open.is_set():
            self._open.clear()
            self.since = time.monotonic()
            self._changed(False)
        self._doubt.set()

    async def watch(self) -> None:
        """Look after inference for ever."""
        missed, refused = 0, False
        while True:
            self._doubt.clear()
            try:
                said = await self._client.healthy()
                if said is not None:
                    missed, self.seen = 0, "there"
                    self.engine = str(said.get("engine") or self.engine)
                    if not self.ready and not self._doubt.is_set():
                        await self._restore()
                        if not self._doubt.is_set():  # what was restored is still what is wanted
                            self.restores += 1
                            self._open.set()
                            self.since = time.monotonic()
                            self._changed(True)
                else:
                    missed, self.seen = missed + 1, "loading"
            except Absent:
                missed, self.seen = PATIENCE, "absent"
                self._absent()
            except Away:
                missed, self.seen = missed + 1, "silent"
            except Refused as refusal:
                if not refused:
                    log.error("Inference will not be led by this owner: %s", refusal)
                refused, self.seen = True, "refuses"
            if missed >= PATIENCE and self.ready:
                log.warning("Inference is away; prompts wait until it is back.")
                self.lost()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._doubt.wait()
            except TimeoutError:
                pass
