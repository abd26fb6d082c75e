"""The cores that a process may use: by its affinity, and by the CPU quota of its control groups, in fake files of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wmkml.system import cores
from wmkml.system.cores import cpu_quota, usable_cores


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n", encoding="ascii")


VERSION_2 = "0::/system.slice/pod"
VERSION_1 = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc"

CASES = {
    "version 2": (VERSION_2, {"system.slice/pod/cpu.max": "250000 100000"}, 2.5),
    "version 2, of a group above": (
        VERSION_2,
        {"system.slice/pod/cpu.max": "max 100000", "system.slice/cpu.max": "800000 100000"},
        8.0,
    ),
    "version 2, the smallest": (
        VERSION_2,
        {"system.slice/pod/cpu.max": "1600000 100000", "system.slice/cpu.max": "400000 100000"},
        4.0,
    ),
    "version 2, in a container": ("0::/", {"cpu.max": "1600000 100000"}, 16.0),
    "version 2, the host's path in a container": (VERSION_2, {"cpu.max": "300000 100000"}, 3.0),
    "version 2, without a quota": (VERSION_2, {"system.slice/pod/cpu.max": "max 100000"}, None),
    "version 1": (
        VERSION_1,
        {
            "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "600000",
            "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "50000",
        },
        12.0,
    ),
    "version 1, in a container": (
        VERSION_1,
        {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"},
        1.5,
    ),
    "version 1, without a quota": (
        VERSION_1,
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        None,
    ),
    "both, as systemd mounts them": (
        "4:cpu:/\n0::/pod",
        {
            "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000",
            "unified/pod/cpu.max": "200000 100000",
        },
        2.0,
    ),
    "no group has a CPU controller": ("3:memory:/pod", {"memory/pod/memory.max": "max"}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_quota_is_read_from_the_groups_of_this_process(tmp_path: Path, case: str) -> None:
    membership, files, quota = CASES[case]
    (tmp_path / "membership").write_text(membership + "\n", encoding="ascii")
    write(tmp_path / "hierarchies", files)
    assert cpu_quota(tmp_path / "membership", tmp_path / "hierarchies") == quota


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "missing", tmp_path) is None


@pytest.mark.parametrize(("quota", "usable"), [(None, 8), (2.5, 2), (0.4, 1), (64.0, 8)])
def test_the_smaller_of_affinity_and_quota_counts(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, usable: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert usable_cores() == usable
