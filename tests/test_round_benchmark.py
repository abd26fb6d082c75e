"""The benchmark of a round says what it says it says; how fast anything was is not a test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_model import make_tiny_model

ROOT = Path(__file__).parent.parent


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("understudy", [False, True], ids=["tiny", "understudy"])
def test_it_prints_a_table_and_last_a_line_of_json(tmp_path: Path, understudy: bool) -> None:
    command = [sys.executable, "benchmarks/round.py", "--rounds", "1", "--samples", "6", "--threads", "1"]
    if not understudy:
        command += ["--model", str(make_tiny_model(tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *table, last = done.stdout.splitlines()
    told = json.loads(last)
    assert told["benchmark"] == "round"
    assert told["ratio"] == pytest.approx(told["original_seconds"] / told["our_seconds"], rel=0.02)
    assert told["our_losses"] == pytest.approx(told["original_losses"], rel=0.02)
    assert told["our_losses"][1] < told["our_losses"][0]
    assert told["tokens"] > 0
    assert {"(a) original", "(b) ours", "ratio"} <= {line[:18].strip() for line in table}
