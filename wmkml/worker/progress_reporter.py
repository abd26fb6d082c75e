"""Reports a training's steps and notices to the owner, and ends the training when the owner drops the round.

The training thread never waits for the network: it queues reports, which the event loop sends, and reads a flag.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from wmkml.protocol.training import RoundJob, StepReport
from wmkml.training.loop import OptimizerStep
from wmkml.worker.owner_client import OwnerAwayError, OwnerRefusedError, WorkerOwnerClient

log = logging.getLogger(__name__)


class ProgressReporter:
    """The watcher of one round's training: created in the event loop, called from the training thread."""

    def __init__(self, job: RoundJob) -> None:
        self._loop = asyncio.get_running_loop()
        self._reports: asyncio.Queue[StepReport | None] = asyncio.Queue()
        self._dropped = threading.Event()
        self._last_report = StepReport(step=0, steps=0)
        self._job = job

    def should_continue(self) -> bool:
        """Whether the training goes on; False once the round was dropped."""
        return not self._dropped.is_set()

    def on_step(self, step: OptimizerStep) -> None:
        """Queue a report of an optimizer step."""
        self._enqueue(
            StepReport(
                step=step.step, steps=step.steps, loss=step.loss, learning_rate=step.learning_rate, tokens=step.tokens
            )
        )

    def on_notice(self, sentence: str) -> None:
        """Queue a notice, with the numbers of the last step."""
        self._enqueue(self._last_report.model_copy(update={"notice": sentence}))

    def drop(self) -> None:
        """Drop the round: the training ends before its next micro-batch."""
        self._dropped.set()

    def finish(self) -> None:
        """End `send_reports` after the reports that are queued now."""
        self._reports.put_nowait(None)

    async def send_reports(self, owner: WorkerOwnerClient) -> None:
        """Send the queued reports until `finish`, and step 0 when none has come for a third of the lease.

        Drops the round when the owner says so or refuses a report.
        """
        while True:
            try:
                # Not wait_for: before Python 3.12 it loses a cancellation that coincides with a report.
                async with asyncio.timeout(self._job.lease_seconds / 3):
                    report = await self._reports.get()
            except TimeoutError:
                report = StepReport(step=0, steps=0)
            if report is None:
                return
            try:
                if not (await owner.report_step(self._job, report)).proceed:
                    log.info("The owner dropped round %d.", self._job.iteration)
                    self.drop()
                    return
            except OwnerAwayError:
                # This report is lost; the training goes on, and the next report renews the lease.
                continue
            except OwnerRefusedError as refusal:
                log.warning("Round %d was taken from this worker: %s", self._job.iteration, refusal)
                self.drop()
                return

    def _enqueue(self, report: StepReport) -> None:
        self._last_report = report.model_copy(update={"notice": None})
        if report.notice:
            log.warning("Round %d: %s", self._job.iteration, report.notice)
        else:
            log.info(
                "Round %d, step %d of %d: loss %.4f", self._job.iteration, report.step, report.steps, report.loss or 0
            )
        self._loop.call_soon_threadsafe(self._reports.put_nowait, report)
