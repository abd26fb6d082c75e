"""The memory that a process may use: the machine's, or less by the limit of its control groups, in fake files of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.test_cores import VERSION_1, VERSION_2, write
from wmkml.system import memory
from wmkml.system.memory import available_gib, memory_gib, memory_kills, memory_limit

GIB = 2**30
NO_LIMIT_SET = 9223372036854771712
"""What version 1 gives where nobody set a limit: the largest whole number of pages in a signed word."""

CASES = {
    "version 2": (VERSION_2, {"system.slice/pod/memory.max": str(12 * GIB)}, 12 * GIB),
    "version 2, the smallest": (
        VERSION_2,
        {"system.slice/pod/memory.max": str(12 * GIB), "system.slice/memory.max": str(8 * GIB)},
        8 * GIB,
    ),
    "version 2, the host's path in a container": (VERSION_2, {"memory.max": str(3 * GIB)}, 3 * GIB),
    "version 2, without a limit": (VERSION_2, {"system.slice/pod/memory.max": "max"}, None),
    "version 1": (VERSION_1, {"memory/docker/abc/memory.limit_in_bytes": str(5 * GIB)}, 5 * GIB),
    "version 1, without a limit": (VERSION_1, {"memory/memory.limit_in_bytes": str(NO_LIMIT_SET)}, NO_LIMIT_SET),
    "no group has a memory controller": ("3:cpu:/pod", {"cpu/cpu.max": "100000 100000"}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_limit_is_read_from_the_groups_of_this_process(tmp_path: Path, case: str) -> None:
    membership, files, limit = CASES[case]
    (tmp_path / "membership").write_text(membership + "\n", encoding="ascii")
    write(tmp_path / "hierarchies", files)
    assert memory_limit(tmp_path / "membership", tmp_path / "hierarchies") == limit


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "missing", tmp_path) is None


@pytest.mark.parametrize(("limit", "usable"), [(None, 64), (16 * GIB, 16), (NO_LIMIT_SET, 64)])
def test_the_smaller_of_machine_and_limit_counts(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, usable: int
) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 64 * GIB // 4096}
    monkeypatch.setattr(os, "sysconf", lambda name: pages[name])
    monkeypatch.setattr(memory, "memory_limit", lambda: limit)
    assert memory_gib() == usable


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, 20.0),
        ({"memory.max": str(12 * GIB), "memory.current": str(9 * GIB), "memory.stat": f"inactive_file {2 * GIB}"}, 5.0),
        (
            {
                "memory/memory.limit_in_bytes": str(12 * GIB),
                "memory/memory.usage_in_bytes": str(11 * GIB),
                "memory/memory.stat": f"inactive_file 0\nactive_file 0\ntotal_inactive_file {GIB}\ntotal_active_file {3 * GIB}",
            },
            5.0,
        ),
        ({"memory.max": str(64 * GIB), "memory.current": str(9 * GIB)}, 20.0),
        ({"memory.max": "max", "memory.current": str(9 * GIB)}, 20.0),
        ({"memory/memory.limit_in_bytes": str(4 * GIB), "memory/memory.usage_in_bytes": str(5 * GIB)}, 0.0),
    ],
)
def test_what_is_free_is_no_more_than_the_groups_leave(tmp_path: Path, files: dict[str, str], available: float) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {20 * 2**20} kB\n")
    (tmp_path / "membership").write_text("4:memory:/\n0::/\n", encoding="ascii")
    write(tmp_path / "hierarchies", files)
    assert available_gib(tmp_path / "meminfo", tmp_path / "membership", tmp_path / "hierarchies") == available


def test_the_kernels_kills_are_read_where_it_counts_them(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\npgfault 9\n", encoding="ascii")
    assert memory_kills(tmp_path / "vmstat") == 3
    (tmp_path / "vmstat").write_text("nr_free_pages 12\n", encoding="ascii")
    assert memory_kills(tmp_path / "vmstat") == memory_kills(tmp_path / "missing") == 0
