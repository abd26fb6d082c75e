"""How much memory this process may use, how much of it is free, and how much it takes; its garbage, and its end.  Standard library only."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import mmap
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from wmkml.system.control_groups import HIERARCHIES, MEMBERSHIP, group_folders

MEMINFO = Path("/proc/meminfo")
"""The kernel's account of the machine's memory (man 5 proc)."""

VMSTAT = Path("/proc/vmstat")
"""The kernel's counters of virtual memory."""


def memory_gib() -> float:
    """The machine's memory in GiB, or less by the limit of this process's control group: beyond that the kernel kills it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit()
    return (machine if limit is None else min(machine, limit)) / 2**30


def memory_limit(membership: Path = MEMBERSHIP, hierarchies: Path = HIERARCHIES) -> int | None:
    """The smallest limit of this process's control groups and of those above them, in bytes; None: no limit.

    Version 1 has a limit in every group; where none was set it is larger than any machine's memory.

    Args:
        membership, hierarchies: as in `group_folders()`.

    Source: the kernel's documentation, cgroup-v2.rst (`memory.max`) and cgroup-v1/memory.rst (`memory.limit_in_bytes`).
    """
    limits = (_limit_of(folder) for folder in group_folders("memory", membership, hierarchies))
    return min((limit for limit in limits if limit is not None), default=None)


def available_gib(
    meminfo: Path = MEMINFO, membership: Path = MEMBERSHIP, hierarchies: Path = HIERARCHIES
) -> float | None:
    """The memory in GiB that a program may take before others are pushed out; None where the system does not say.

    On Linux what is free or can be freed, and no more than the limits of control groups leave; on Windows what is free;
    on macOS all of it, which does not tell what is free.
    """
    if meminfo.is_file():
        free = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="utf-8"), re.MULTILINE)
        if free:
            left = (_left_in(folder) for folder in group_folders("memory", membership, hierarchies))
            return min([int(free[1]) * 1024, *(number for number in left if number is not None)]) / 2**30
    if hasattr(ctypes, "windll"):
        return _available_on_windows() / 2**30
    return memory_gib() if hasattr(os, "sysconf") else None


def used_memory() -> int:
    """The memory of this process, in bytes; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * mmap.PAGESIZE


def memory_kills(vmstat: Path = VMSTAT) -> int:
    """How many processes the kernel has killed since its start because memory was short, also by a control group's limit.

    0 where the kernel does not count them (before Linux 4.13, and elsewhere).
    """
    try:
        counted = re.search(r"^oom_kill (\d+)$", vmstat.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return 0
    return int(counted[1]) if counted else 0


def peak_memory() -> int:
    """The most memory this process has had, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _limit_of(folder: Path) -> int | None:
    """The limit of one group, in bytes; None if it has none."""
    return _number_in(folder, "memory.max", "memory.limit_in_bytes")


def _left_in(folder: Path) -> int | None:
    """Bytes that a group's limit leaves; None without a limit."""
    limit = _limit_of(folder)
    used = _number_in(folder, "memory.current", "memory.usage_in_bytes")
    if limit is None or used is None:
        return None
    # Files that were read are counted as used, and given back when memory is needed; MemAvailable has them as well.
    statistics = folder / "memory.stat"
    text = statistics.read_text(encoding="ascii") if statistics.is_file() else ""
    counted = {name: int(number) for name, number in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}
    # In version 1 the plain names leave out the groups below.
    cached = sum(counted.get(f"total_{name}", counted.get(name, 0)) for name in ("inactive_file", "active_file"))
    return max(0, limit - used + cached)


def _number_in(folder: Path, *names: str) -> int | None:
    """The number in the first of these files that is there; None if none is, or it says `max`."""
    for name in names:
        try:
            text = (folder / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        return None if text == "max" else int(text)
    return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        *(
            (name, ctypes.c_ulonglong)
            for name in ("total", "free", "total_page", "free_page", "virtual", "free_virtual")
        ),
        ("extended", ctypes.c_ulonglong),
    )


def _available_on_windows() -> int:
    status = _MemoryStatus()
    status.length = ctypes.sizeof(status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]  # on Windows alone
    return int(status.free)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Look for no garbage meanwhile: among many objects that all stay, again and again while they become more, that takes long.

    A fifth of the time in which torch, transformers and vLLM are imported; more than half of that in which a dictionary is read.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class QuickEnd:
    """Ends this program without taking it apart, which takes two and a half seconds with torch, and four with vLLM.

    The interpreter deletes every module, and looks for garbage among all that they held; the system frees it at once.  What has to
    be done at the end, as to wait for threads and to delete temporary folders, is done all the same.  For that this must be made
    before others are imported: what is registered for the end is called in the opposite order.
    """

    def __init__(self) -> None:
        self._status: int | None = None
        atexit.register(self._end)

    def leave(self, status: int) -> NoReturn:
        """End this program with this exit status, quickly.  One that ends by an exception ends as ever."""
        self._status = status
        sys.exit(status)

    def _end(self) -> None:
        """The last that is called."""
        if self._status is None:
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # as in a program of Windows without a console
                    stream.flush()
        except (OSError, ValueError):
            return  # whoever read has gone: the interpreter knows what to say, and with which status
        os._exit(self._status)
