"""The command with small numbers, on a real cluster."""

from __future__ import annotations

import os
import subprocess
import sys
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

QUIET = [
    word
    # Which would all keep the cores busy beside the siege; nothing here looks at them.
    for setting in ("inference.panel_answers=0", "inference.num_generated_responses=1", "general.keep_reports=0")
    for word in ("--set", setting)
]


@pytest.mark.timeout(900)
def test_a_small_siege_holds(tmp_path: Path) -> None:
    file = tmp_path / "siege.json"
    command = [sys.executable, "-m", "wmkml", "siege", "--sections", "adapters,clients,kills", "--report", str(file)]
    command += [
        "--engine",
        "transformers",
        *QUIET,
        "--seed",
        str(SEED),
        "--kills",
        str(KILLS),
        "--connections",
        "300",
        "--messages",
        str(MESSAGES),
    ]
    done = subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=880
    )
    assert file.is_file(), done.stdout[-4000:]
    report = SiegeReport.model_validate_json(file.read_text(encoding="utf-8"))
    # How long a process takes to come back is the machine's matter here, and none of a test.
    assert [section.problems for section in report.sections] == [[], [], []], done.stdout[-4000:]
    for section in report.sections:
        assert section.held == section.tried == section.wanted
    assert report.sections[2].counts["acknowledged pairs"] >= KILLS
    assert done.returncode == (0 if report.ok else 1)


@pytest.mark.timeout(900)
def test_a_siege_that_is_killed_leaves_its_report_and_no_cluster(tmp_path: Path) -> None:
    file = tmp_path / "siege.json"
    command = [sys.executable, "-m", "wmkml", "siege", "--sections", "clients", "--report", str(file)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with (tmp_path / "output").open("wb") as output:
        siege = subprocess.Popen(
            [*command, "--engine", "transformers", *QUIET],
            cwd=PROJECT,
            stdout=output,
            stderr=output,
            env=environment,
        )

    def report() -> SiegeReport | None:
        return SiegeReport.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None

    def attacks_or_is_over() -> bool | None:
        seen = report()
        return siege.poll() is not None or (seen is not None and seen.sections[0].tried > 0) or None

    try:
        until(attacks_or_is_over, "the first attacks", 700)
        assert siege.poll() is None, (tmp_path / "output").read_text()
        [data] = tmp_path.glob("wmkml-siege-*/data")
        assert marked_processes(cluster_mark(data))
    finally:
        siege.kill()
        siege.wait()
    left = report()
    assert left is not None and left.interrupted and not left.ok
    assert 0 < left.sections[0].tried < left.sections[0].wanted and left.sections[0].seconds > 0
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
