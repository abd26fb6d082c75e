"""Makes a report of every run that ends: its numbers at once, the drawing later, by a process of its own.

The numbers are taken while the run's words still exist, and are on the disk before these are deleted.  The drawing imports
matplotlib and takes seconds: it has a low priority, one at a time, and goes on after a restart.  Nothing that fails
here keeps a run from ending or the next one from beginning; the operator is told.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wmkml.config.paths import PROJECT
from wmkml.owner.run.live_run import LiveRun
from wmkml.reports.folder import remove_old, undrawn, write_record
from wmkml.reports.gathering import gather

log = logging.getLogger(__name__)

LONGEST_SECONDS = 900.0
"""Then a drawing is given up: a disk that does not answer."""

LOW_PRIORITY = 10
"""Nice value of the drawing, which yields to what answers visitors: a tenth of a core where all are busy.  The lowest, 19, would
be a seventieth, and the six seconds that a drawing computes would outlast `LONGEST_SECONDS`."""


class ReportMaker:
    """The reports of one installation."""

    def __init__(self, reports: Path, keep: int, notice: Callable[[str], None]) -> None:
        """Args:
        reports: the folder of all reports.
        keep: how many of the newest stay; 0: none is made.
        notice: tells the operator a sentence.
        """
        self._reports, self._keep, self._notice = reports, keep, notice
        self._written = asyncio.Event()
        self._given_up: set[str] = set()
        """Reports that could not be drawn; they are tried again when the owner is started again."""

    async def record(self, run: LiveRun) -> None:
        """Take the numbers of a run that ends now; its store is open, and its tasks have ended.

        A run in which nobody has spoken and no iteration answered has no report.
        """
        if not self._keep:
            return
        try:
            recorded = await asyncio.to_thread(self._write_record, run, run.clock.elapsed())
        except Exception as error:  # noqa: BLE001 - whatever is wrong with its numbers, the run has to end
            log.warning("The numbers of run %s could not be taken (%s).", run.name, type(error).__name__)
            self._notice(f"There is no report of run {run.name}: its numbers could not be taken or written.")
            return
        if recorded:
            self._written.set()

    def _write_record(self, run: LiveRun, seconds: float) -> bool:
        run.store.flush()
        record = gather(run.folder, run.store, seconds)
        if not record.accepted() and not record.pairs.get("visitor"):
            return False
        write_record(self._reports / run.name, record)
        return True

    async def work(self) -> None:
        """Draw what is recorded and not drawn, also by an owner before this one; never returns."""
        while self._keep:
            self._written.clear()
            try:
                names = await asyncio.to_thread(self._tidy)
                for name in names:
                    await self._draw(name)
            except OSError as error:
                self._notice(f"Reports cannot be made: {self._reports}: {error.strerror}.")
            await self._written.wait()

    def _tidy(self) -> list[str]:
        """Delete what is too old, and return what is to be drawn."""
        remove_old(self._reports, self._keep)
        return [name for name in undrawn(self._reports) if name not in self._given_up]

    async def _draw(self, name: str) -> None:
        folder = self._reports / name
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "wmkml",
            "report",
            str(folder.absolute()),
            cwd=PROJECT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,  # a traceback may quote what was answered
        )
        try:
            with suppress(ProcessLookupError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, process.pid, LOW_PRIORITY)
            async with asyncio.timeout(LONGEST_SECONDS):
                status = await process.wait()
        except TimeoutError:
            status = -1
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if status != 0:
            self._given_up.add(name)
            self._notice(
                f"The report of run {name} could not be drawn; its numbers are kept. What is wrong: "
                f"env/bin/python -m wmkml report {folder}"
            )
