"""Polls inference, lets callers wait until it is ready, and has its adapters restored after it was away.

An inference that was away has lost its adapters, so it counts as ready only once the `restore` callback has succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from wmkml.owner.inference.client import (
    InferenceAbsentError,
    InferenceAwayError,
    InferenceClient,
    InferenceRefusedError,
)
from wmkml.protocol.inference import NodeState

log = logging.getLogger(__name__)

PollResult = Literal["reachable", "loading", "absent", "silent", "refuses"]
"""`loading`: it answers but is not ready; `absent`: nobody listens at its port; `silent`: somebody listens and does not
answer; `refuses`: it does not accept this owner's requests."""

POLL_SECONDS = 0.25

BACKGROUND_ANSWERS = 4
"""Assumed of an inference that has not reported how many background answers it generates at the same time."""

MAX_MISSED_POLLS = 4
"""After this many failed polls in a row a ready inference counts as away; a busy one may miss a single poll."""


class InferenceWatch:
    """The gate before inference: open while inference is ready and holds the adapters it should."""

    def __init__(
        self,
        client: InferenceClient,
        restore: Callable[[], Awaitable[None]],
        on_absent: Callable[[], None],
        on_change: Callable[[bool], None],
    ) -> None:
        """Args:
        restore: called whenever inference is reachable again, before the gate opens; may raise InferenceAwayError.
        on_absent: called when nobody listens at inference's port: no process holds an adapter open.
        on_change: called with the new state when the gate opens or closes.
        """
        self._client, self._restore, self._on_absent, self._on_change = client, restore, on_absent, on_change
        self._open = asyncio.Event()
        self._restore_required = asyncio.Event()
        self.engine = ""
        """The engine's name as inference last reported it; empty before the first report."""
        self.background_answers = BACKGROUND_ANSWERS
        """How many background answers inference generates at the same time, as it last reported."""
        self.nodes: list[NodeState] = []
        """The other machines that answer too, as inference last reported them."""
        self._process = ""
        """What inference called its process at the last poll: another one holds no adapter."""
        self.last_poll: PollResult = "absent"
        self.since = time.monotonic()
        """Monotonic time, in seconds, at which the gate last opened or closed."""
        self.restores = 0
        """Number of completed restores: an adapter that was loaded before the latest one may be lost."""

    @property
    def ready(self) -> bool:
        """Whether inference answers and holds the adapters it should."""
        return self._open.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the gate is open; False if it is still closed after this many seconds (None: no limit)."""
        try:
            async with asyncio.timeout(seconds):
                await self._open.wait()
        except TimeoutError:
            return False
        return True

    def require_restore(self) -> None:
        """Close the gate until inference is restored: a request to it failed, or the run has changed."""
        if self._open.is_set():
            self._set_open(False)
        self._restore_required.set()

    async def watch(self) -> None:
        """Poll inference and open or close the gate; never returns."""
        missed, refused = 0, False
        while True:
            self._restore_required.clear()
            try:
                health = await self._client.health()
                if health is not None:
                    missed, self.last_poll = 0, "reachable"
                    self.engine = str(health.get("engine") or self.engine)
                    self.background_answers = int(health.get("background_answers") or self.background_answers)
                    self.nodes = [NodeState.model_validate(node) for node in health.get("nodes") or []]
                    process, self._process = self._process, str(health.get("process") or "")
                    if process != self._process and self.ready:
                        log.warning("Inference has been started anew between two polls; its adapters are restored.")
                        self.require_restore()
                    if not self.ready and not self._restore_required.is_set():
                        await self._restore()
                        if not self._restore_required.is_set():  # else the run changed during the restore
                            self.restores += 1
                            self._set_open(True)
                else:
                    missed, self.last_poll = missed + 1, "loading"
            except InferenceAbsentError:
                missed, self.last_poll = MAX_MISSED_POLLS, "absent"
                self._on_absent()
            except InferenceAwayError:
                missed, self.last_poll = missed + 1, "silent"
            except InferenceRefusedError as refusal:
                if not refused:
                    log.error("Inference refuses the owner's requests: %s", refusal)
                refused, self.last_poll = True, "refuses"
            if missed >= MAX_MISSED_POLLS and self.ready:
                log.warning("Inference is away; prompts wait until it is back.")
                self.require_restore()
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._restore_required.wait()
            except TimeoutError:
                pass

    def _set_open(self, is_open: bool) -> None:
        if is_open:
            self._open.set()
        else:
            self._open.clear()
        self.since = time.monotonic()
        self._on_change(is_open)
