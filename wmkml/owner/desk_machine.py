"""What is free on the owner's machine: disk, memory, and GPUs where NVIDIA's tool is there.

The GPUs are asked for behind the caller, since the tool may take seconds.  Knows no run.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

import psutil

from wmkml.owner.desk_wire import DeskGpu, DeskMachine

GIB = 2.0**30
GPU_SECONDS = 5.0
"""GPUs are asked for again after so long."""

TOOL_SECONDS = 20.0


class MachineRoom:
    """Looks at this machine, for the desk."""

    def __init__(self, data: Path) -> None:
        """`data`: the folder whose disk counts."""
        self._data = data
        self._tool = shutil.which("nvidia-smi")
        self._gpus: list[DeskGpu] = []
        self._asked = -GPU_SECONDS
        self._asking: asyncio.Task[None] | None = None

    def look(self) -> DeskMachine:
        """What is free now; the GPUs as they were a few seconds ago."""
        if self._tool and self._asking is None and time.monotonic() - self._asked >= GPU_SECONDS:
            self._asking = asyncio.create_task(self._ask(self._tool))
        disk, memory = psutil.disk_usage(str(self._data)), psutil.virtual_memory()
        return DeskMachine(
            disk_free_gib=disk.free / GIB,
            disk_total_gib=disk.total / GIB,
            memory_free_gib=memory.available / GIB,
            memory_total_gib=memory.total / GIB,
            gpus=self._gpus,
        )

    async def _ask(self, tool: str) -> None:
        try:
            self._gpus = await asyncio.to_thread(asked_gpus, tool)
        finally:
            self._asked, self._asking = time.monotonic(), None


def asked_gpus(tool: str) -> list[DeskGpu]:
    """The GPUs that `nvidia-smi` names; none where it fails or does not answer."""
    query = [tool, "--query-gpu=name,memory.used,memory.total,utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return gpus_told(done.stdout) if done.returncode == 0 else []


def gpus_told(answer: str) -> list[DeskGpu]:
    """Read the tool's lines `name, used MiB, total MiB, busy %`; those without memory of their own are left out."""
    found = []
    for line in answer.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < 4 or not (parts[-3].isdigit() and parts[-2].isdigit()):
            continue
        name, used, total, busy = ", ".join(parts[:-3]), int(parts[-3]), int(parts[-2]), parts[-1]
        found.append(
            DeskGpu(
                name=name,
                used_gib=used / 1024,
                total_gib=total / 1024,
                busy=int(busy) / 100 if busy.isdigit() else None,
            )
        )
    return found
