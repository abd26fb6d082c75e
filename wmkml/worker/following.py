"""Following a training from the event loop: steps and notices go to the owner, and its word may end the training.

The thread that trains never waits for the network: it leaves what happened in a queue and asks a flag.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from wmkml import wire
from wmkml.training.loop import StepDone
from wmkml.worker.owner_client import OwnerAway, OwnerClient, OwnerRefuses

log = logging.getLogger(__name__)


class Follower:
    """A watcher of one training; made in the event loop, called from the thread that trains."""

    def __init__(self, job: wire.RoundJob) -> None:
        self._loop = asyncio.get_running_loop()
        self._reports: asyncio.Queue[wire.StepReport | None] = asyncio.Queue()
        self._dropped = threading.Event()
        self._last = wire.StepReport(step=0, steps=0)
        self._job = job

    def proceed(self) -> bool:
        """False once the round was dropped."""
        return not self._dropped.is_set()

    def stepped(self, done: StepDone) -> None:
        """Leave a step for the owner."""
        self._leave(
            wire.StepReport(
                step=done.step, steps=done.steps, loss=done.loss, learning_rate=done.learning_rate, tokens=done.tokens
            )
        )

    def noticed(self, sentence: str) -> None:
        """Leave a notice for the owner, with the step made last."""
        self._leave(self._last.model_copy(update={"notice": sentence}))

    def drop(self) -> None:
        """End the training before its next micro-batch."""
        self._dropped.set()

    def finish(self) -> None:
        """No more reports will come."""
        self._reports.put_nowait(None)

    async def tell(self, owner: OwnerClient) -> None:
        """Send what is left in the queue, and a sign of life when nothing is, until `finish`; drops a round no longer ours."""
        while True:
            try:
                # Not wait_for: before Python 3.12 it forgets that it was cancelled when a report comes at that moment.
                async with asyncio.timeout(self._job.lease_seconds / 3):
                    report = await self._reports.get()
            except TimeoutError:
                report = wire.StepReport(step=0, steps=0)
            if report is None:
                return
            try:
                if not (await owner.step(self._job, report)).proceed:
                    log.info("Round %d was called off by the owner.", self._job.iteration)
                    self.drop()
                    return
            except OwnerAway:
                # The training goes on; the next report, or the adapter itself, says that it does.
                continue
            except OwnerRefuses as refusal:
                log.warning("Round %d is no longer ours: %s", self._job.iteration, refusal)
                self.drop()
                return

    def _leave(self, report: wire.StepReport) -> None:
        self._last = report.model_copy(update={"notice": None})
        if report.notice:
            log.warning("Round %d: %s", self._job.iteration, report.notice)
        else:
            log.info(
                "Round %d, step %d of %d: loss %.4f", self._job.iteration, report.step, report.steps, report.loss or 0
            )
        self._loop.call_soon_threadsafe(self._reports.put_nowait, report)
