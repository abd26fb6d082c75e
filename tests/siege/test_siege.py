"""The command with small numbers, on a real cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.launcher.launched_standins import until
from wmkml.config.paths import PROJECT
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.siege.doors import INFERENCE_DOORS, OWNER_DOORS
from wmkml.siege.report import SiegeReport
from wmkml.system.orphans import marked_processes

pytestmark = pytest.mark.process

SEED, KILLS = 10, 2
"""By this seed the owner is killed, then the worker; by many others one process each time, while it still starts."""

MESSAGES = len(OWNER_DOORS) + len(INFERENCE_DOORS)
"""Each door gets one; more of them, and with more seeds, in tests/siege/test_runs_and_messages.py."""

QUIET = (
    # Which would all keep the cores busy beside the siege; nothing here looks at them.
    "inference.panel_answers=0",
    "inference.num_generated_responses=1",
    "inference.max_tokens=8",
    "general.keep_reports=0",
)


def siege(*words: str, settings: Sequence[str] = QUIET) -> list[str]:
    """The command."""
    set_ = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "wmkml", "siege", "--engine", "transformers", "--seed", str(SEED), *words, *set_]


@pytest.mark.timeout(900)
def test_a_small_siege_holds(tmp_path: Path) -> None:
    file = tmp_path / "siege.json"
    attacks = ["--sections", "adapters,kills", "--kills", str(KILLS)]
    done = subprocess.run(
        siege(*attacks, "--report", str(file)),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=880,
    )
    assert file.is_file(), done.stdout[-4000:]
    report = SiegeReport.model_validate_json(file.read_text(encoding="utf-8"))
    # How long a process takes to come back is the machine's matter here, and none of a test.
    assert [section.problems for section in report.sections] == [[], []], done.stdout[-4000:]
    for section in report.sections:
        assert section.held == section.tried == section.wanted
    assert report.sections[1].counts["acknowledged pairs"] >= KILLS
    assert done.returncode == (0 if report.ok else 1)


@pytest.mark.timeout(900)
def test_a_siege_that_is_killed_leaves_its_report_and_no_cluster(tmp_path: Path) -> None:
    """It is killed among the prompts; what came before them has held."""
    file = tmp_path / "siege.json"
    attacks = ["--sections", "clients,prompts", "--connections", "300", "--messages", str(MESSAGES)]
    # Rounds are none of a client's matter: one, and while it is attacked for a minute no other.
    command = siege(*attacks, "--report", str(file), settings=[*QUIET, "finetuning.minimum_iteration_time=600"])
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output, env=environment)

    def report() -> SiegeReport | None:
        return SiegeReport.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None

    def asks_or_is_over() -> bool | None:
        seen = report()
        return process.poll() is not None or (seen is not None and seen.sections[1].tried > 0) or None

    try:
        until(asks_or_is_over, "the first prompts", 800)
        assert process.poll() is None, (tmp_path / "output").read_text()
        [data] = tmp_path.glob("wmkml-siege-*/data")
        assert marked_processes(cluster_mark(data))
    finally:
        process.kill()
        process.wait()
    left = report()
    assert left is not None and left.interrupted and not left.ok
    clients, prompts = left.sections
    assert clients.problems == [], (tmp_path / "output").read_text()[-4000:]
    assert clients.held == clients.tried == clients.wanted
    assert 0 < prompts.tried < prompts.wanted and prompts.seconds > 0
    until(lambda: not marked_processes(cluster_mark(data)) or None, "the cluster to end", 60)


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wmkml", "siege", "--sections", "kills,storms"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and "storms" in done.stderr and "adapters" in done.stderr
