"""Free disk space, memory and GPU memory of the owner's machine.

`nvidia-smi` may take seconds, so GPUs are read in the background, and callers get the last result.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

from wmkml.protocol.desk import DeskGpu, DeskMachine
from wmkml.system.gpus import Gpu, detected_gpus
from wmkml.system.memory import available_gib, memory_gib

GIB = 2.0**30
GPU_POLL_SECONDS = 5.0
"""Seconds between the end of one `nvidia-smi` call and the start of the next."""

NVIDIA_SMI_TIMEOUT_SECONDS = 20.0
"""After this long a call counts as failed, and no GPU is shown."""


class MachineWatch:
    """Reads this machine's free resources for the desk."""

    def __init__(self, data: Path) -> None:
        """`data`: a folder on the disk whose space is reported."""
        self._data = data
        self._has_tool = shutil.which("nvidia-smi") is not None
        self._gpus: list[DeskGpu] = []
        self._gpus_read_at = -GPU_POLL_SECONDS
        self._gpu_task: asyncio.Task[None] | None = None
        self.gpu_names: tuple[str, ...] | None = None
        """The names of all cards, also of those that the desk does not show; None: they were not read yet."""

    def read(self, ask_gpus: bool = True) -> DeskMachine:
        """The resources now; those of GPUs as last read.

        Args:
            ask_gpus: begin to read them anew where they are due, which needs a running event loop.
        """
        due = time.monotonic() - self._gpus_read_at >= GPU_POLL_SECONDS
        if ask_gpus and self._has_tool and self._gpu_task is None and due:
            self._gpu_task = asyncio.create_task(self._read_gpus())
        # Somebody may have deleted the folder: that is a problem of its own.
        present = next(folder for folder in (self._data, *self._data.parents) if folder.exists())
        disk, memory = shutil.disk_usage(present), memory_gib()
        free = available_gib()
        return DeskMachine(
            disk_free_gib=disk.free / GIB,
            disk_total_gib=disk.total / GIB,
            memory_free_gib=memory if free is None else min(free, memory),
            memory_total_gib=memory,
            gpus=self._gpus,
        )

    async def _read_gpus(self) -> None:
        try:
            gpus = await asyncio.to_thread(detected_gpus, NVIDIA_SMI_TIMEOUT_SECONDS)
            self._gpus, self.gpu_names = desk_gpus(gpus), tuple(gpu.name for gpu in gpus)
        finally:
            self._gpus_read_at, self._gpu_task = time.monotonic(), None


def desk_gpus(gpus: tuple[Gpu, ...]) -> list[DeskGpu]:
    """The GPUs as the desk shows them, without those that share the machine's memory."""
    return [
        DeskGpu(name=gpu.name, used_gib=gpu.used_gib, total_gib=gpu.memory_gib, busy=gpu.busy)
        for gpu in gpus
        if gpu.used_gib is not None
    ]
