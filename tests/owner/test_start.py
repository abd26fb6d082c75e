"""What the owner's start costs, and what it tells of the prompt sets: `owner.py` as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.owner.owner_cluster import ROOT, OwnerCluster

pytestmark = pytest.mark.process

MOST_PROCESSOR_SECONDS = 5.0

PROMPTS = "Was ist Brot?\n\nWas ist [INST] Zeit?\nWenn es regnet, was tust du?\n"
"""A prompt, an empty row, chat markup, and a sentence that a comma splits: problems on lines 2 to 4."""


def owner_script(cluster: OwnerCluster) -> list[str]:
    return [sys.executable, str(ROOT / "owner.py"), "--config", str(cluster.config)]


@contextmanager
def cluster_with_sets(folder: Path, sets: dict[str, str], **overrides: Any) -> Iterator[OwnerCluster]:
    """A cluster, not started, with prompt sets of one file each, by name."""
    for name, content in sets.items():
        (folder / "sets" / name).mkdir(parents=True)
        (folder / "sets" / name / "prompts.csv").write_text(content, encoding="utf-8")
    cluster = OwnerCluster(folder, **{"general.datasets_folder": str(folder / "sets")} | overrides)
    try:
        yield cluster
    finally:
        cluster.stop()


def log_lines_of_sets(cluster: OwnerCluster) -> list[tuple[str, str]]:
    """Level and text of every line of the owner's log that names a file of the sets; the text from the file's set on."""
    sets = f"{cluster.folder / 'sets'}/"
    lines = [line for line in cluster.log.read_text(encoding="utf-8").splitlines() if sets in line]
    return [(line.split()[2], line.partition(sets)[2]) for line in lines]


def test_the_port_answers_after_little_work(tmp_path: Path) -> None:
    """The time on the wall depends on what else the machine does; the time on the processor is the owner's own."""
    with cluster_with_sets(tmp_path, {}) as cluster:
        cluster.start_owner(command=owner_script(cluster))
        assert cluster.owner_process is not None
        times = psutil.Process(cluster.owner_process.pid).cpu_times()
        used = times.user + times.system + times.children_user + times.children_system
        assert 0 < used < MOST_PROCESSOR_SECONDS


@pytest.mark.parametrize("verified", [True, False])
def test_verification_mode_reports_every_problem_of_every_set_by_file_and_line(tmp_path: Path, verified: bool) -> None:
    sets = {"gut": "Was ist Zeit?\n", "schlecht": PROMPTS, "unused": "Was?\n\nWer?\n"}
    used = {"general.verification_mode": verified, "finetuning.dataset_array": [["gut"], ["schlecht"]]}
    with cluster_with_sets(tmp_path, sets, **used) as cluster:
        cluster.start_owner(command=owner_script(cluster))
        assert cluster.log.stat().st_size > 0
        reported = [(level, text.split(": ")[:2]) for level, text in log_lines_of_sets(cluster)]
        problems = [
            ("WARNING", ["schlecht/prompts.csv, line 2", "warning"]),
            ("ERROR", ["schlecht/prompts.csv, line 3", "error"]),
            ("WARNING", ["schlecht/prompts.csv, line 4", "warning"]),
            ("WARNING", ["unused/prompts.csv, line 2", "warning"]),
        ]
        assert reported == (problems if verified else [])
        assert cluster.owner.get("/healthz").status_code == 200, "a problem of a row keeps nobody from starting"


def test_verification_mode_looks_at_the_available_sets_alone(tmp_path: Path) -> None:
    sets = {"gut": "Was ist Zeit?\n\n", "unused": PROMPTS}
    settings = {"general.verification_mode": True, "general.available_datasets": ["gut"]}
    with cluster_with_sets(tmp_path, sets, **settings) as cluster:
        cluster.start_owner(command=owner_script(cluster))
        assert [text.partition(":")[0] for _, text in log_lines_of_sets(cluster)] == ["gut/prompts.csv, line 2"]


def test_verification_mode_reports_the_lines_of_a_set_that_keeps_the_owner_from_starting(tmp_path: Path) -> None:
    sets = {"schlecht": "[INST] Was?\n[INST] Wer?\n"}
    settings = {
        "general.verification_mode": True,
        "general.logging": "ERROR",
        "finetuning.dataset_array": [["schlecht"]],
    }
    with cluster_with_sets(tmp_path, sets, **settings) as cluster:
        cluster.start_owner(wait=False, command=owner_script(cluster))
        assert cluster.owner_process is not None
        assert cluster.owner_process.wait(60) == 2
        reported = [text.partition(":")[0] for _, text in log_lines_of_sets(cluster)]
        assert reported[:2] == ["schlecht/prompts.csv, line 1", "schlecht/prompts.csv, line 2"]
        assert "finetuning.dataset_array: 'schlecht' cannot be used" in cluster.log.read_text(encoding="utf-8")
