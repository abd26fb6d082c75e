"""Asks the doctor for the desk: `python -m wmkml doctor` as a process of its own, with this owner's settings.

It looks at what the owner must not import, and takes seconds.  One asks at a time; who asks meanwhile gets the same report.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping

from pydantic import ValidationError

from wmkml.config import Settings, dump
from wmkml.config.paths import PROJECT, Paths, with_absolute_folders
from wmkml.config.planned import ALL_GPUS
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.doctor import DoctorReport

LONGEST_SECONDS = 60.0
"""Then the doctor is ended: a volume that does not answer must not hold the desk."""


class Doctor:
    """Examines this owner's installation."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings, self._paths = settings, paths
        self._examination: asyncio.Task[DoctorReport] | None = None

    async def examine(self) -> DoctorReport:
        """What the doctor finds now.

        Raises:
            RequestRefusedError: 503, it did not answer.
        """
        if self._examination is None or self._examination.done():
            self._examination = asyncio.create_task(self._run())
        # The examination goes on for the others when one of those who wait hangs up.
        return await asyncio.shield(self._examination)

    async def _run(self) -> DoctorReport:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=self._paths.data, encoding="utf-8") as file:
            file.write(dump(with_absolute_folders(self._settings, self._paths)))
            file.flush()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "wmkml",
                "doctor",
                "--json",
                "-",
                "--running",
                "--config",
                file.name,
                "--model",
                self._settings.general.model_name,
                "--engine",
                self._settings.inference.engine,
                cwd=PROJECT,
                env=doctor_environment(os.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(LONGEST_SECONDS):
                    output, errors = await process.communicate()
            except TimeoutError:
                raise RequestRefusedError(
                    503, f"The doctor did not answer within {LONGEST_SECONDS:.0f} s: a disk or nvidia-smi hangs."
                ) from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        try:
            return DoctorReport.model_validate_json(output)
        except ValidationError:
            last = (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise RequestRefusedError(503, f"The doctor failed: {last[:200]}") from None


def doctor_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The owner's environment, but with all GPUs of the plan, which are hidden from the owner itself."""
    gpus = environment.get(ALL_GPUS)
    return {**environment, "CUDA_VISIBLE_DEVICES": gpus} if gpus else dict(environment)
