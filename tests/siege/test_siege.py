"""The command with small numbers, on a real cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.config.paths import PROJECT
from wmkml.siege.report import SiegeReport

pytestmark = pytest.mark.process

KILLS = 6


@pytest.mark.timeout(900)
def test_a_small_siege_holds(tmp_path: Path) -> None:
    file = tmp_path / "siege.json"
    command = [sys.executable, "-m", "wmkml", "siege", "--sections", "adapters,clients,kills", "--report", str(file)]
    command += ["--engine", "transformers", "--kills", str(KILLS), "--connections", "300", "--messages", "100"]
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


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wmkml", "siege", "--sections", "kills,storms"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and "storms" in done.stderr and "adapters" in done.stderr
