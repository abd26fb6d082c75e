"""Has panels measured by processes of their own (`wmkml.measures.panel.process`), which start with the first and stay.

Two of them, since the words need a dictionary, which takes seconds to load: the other measures do not wait for it.  Between
two panels they do nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from wmkml.config.paths import PROJECT
from wmkml.measures.panel.process import PanelJob

log = logging.getLogger(__name__)

PROCESS = "wmkml.measures.panel.process"


class MeasuringProcess:
    """One process, and a queue before it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def measure(self, job: PanelJob) -> dict[str, float]:
        """The measures by name; none where the process failed, which is logged without a word of an answer."""
        async with self._lock:
            process = await self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            values: dict[str, float] | None = None
            try:
                process.stdin.write(job.to_line())
                await process.stdin.drain()
                values = json.loads(await process.stdout.readline() or "null")
            except (ConnectionError, ValueError):
                pass
            finally:
                if values is None:  # broken off or failed: its next line would be the answer to this job
                    await self.close()
            if values is None:
                log.warning("The answers to the panel could not be measured: %s failed.", PROCESS)
            return values or {}

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                PROCESS,
                cwd=PROJECT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # a traceback may quote what was answered
            )
        return self._process

    async def close(self) -> None:
        """End the process; the next measuring starts another."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())


class PanelMeasurer:
    """Measures the panels of one run."""

    def __init__(self) -> None:
        self._of_texts, self._of_words = MeasuringProcess(), MeasuringProcess()

    async def measure(self, job: PanelJob) -> dict[str, float]:
        """The measures of a panel by name."""
        return await (self._of_words if job.of_words else self._of_texts).measure(job)

    async def close(self) -> None:
        """End the processes."""
        await self._of_texts.close()
        await self._of_words.close()
