"""How the CPU is shared: how many threads the engine and the worker compute with, by one rule for plan and services.

Standard library alone, since the installer asks for the cores before anything is installed.  Knows no process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wmkml.config import Settings

FEW = 4
"""On so many cores or fewer the worker takes a single one: visitors wait for the engine, and for nothing else."""


def usable_cores() -> int:
    """The cores this process may use, which on a shared machine are fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_threads(settings: Settings, cores: int, *, gpu: bool) -> int:
    """CPU threads of training: as configured; else one of a few cores, half of more; 0 (torch's choice) beside a GPU."""
    if settings.finetuning.worker_threads or gpu:
        return settings.finetuning.worker_threads
    return 1 if cores <= FEW else cores // 2


def engine_threads(settings: Settings, cores: int, *, gpu: bool) -> int:
    """CPU threads of the engine: as configured; else all cores but the worker's; 0 (the library's choice) beside a GPU."""
    if settings.inference.cpu_threads or gpu:
        return settings.inference.cpu_threads
    return max(1, cores - worker_threads(settings, cores, gpu=gpu))
