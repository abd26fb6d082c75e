"""The output of benchmarks/round.py, and what it refuses; the measured times are not tested."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import ways
from benchmarks.round import NAMES, WayProcess, compare, summary, table
from benchmarks.ways import RoundFigures, RoundSetting, WayNotRunError, refusal
from tests.training.tiny_model import PAIRS, make_tiny_model

ROOT = Path(__file__).parent.parent.parent
GOOD = RoundFigures(0.5, 1000, (7.0, 6.8), (2.0, 1.9), 0.1)


def process_of(way: str, figures: RoundFigures) -> WayProcess:
    """A way whose rounds are given; it has no process."""
    process = object.__new__(WayProcess)
    process.way, process.rounds, process.trouble = way, [figures], None
    return process


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        (GOOD, None),
        (replace(GOOD, gradient_norms=(2.0, 0.0)), "gradient is zero"),
        (replace(GOOD, gradient_norms=(2.0, float("nan"))), "gradient is zero"),
        (replace(GOOD, gradient_norms=()), "gradient is zero"),
        (replace(GOOD, losses=(float("nan"), 6.8)), "not a number"),
        (replace(GOOD, adapter_change=0.0), "adapter is as before"),
    ],
)
def test_the_speed_of_a_round_that_trained_nothing_is_refused(figures: RoundFigures, reason: str | None) -> None:
    refused = refusal(figures)
    assert refused == reason if reason is None else reason in (refused or "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"losses": (7.05, 6.75)}, None),
        ({"losses": (7.0, 6.0)}, "losses"),
        ({"losses": (7.0,)}, "losses"),
        ({"tokens": 900}, "900 tokens"),
    ],
)
def test_a_peer_that_trained_something_else_is_refused(change: dict[str, object], reason: str | None) -> None:
    processes = [process_of("ours", GOOD), process_of("trl", replace(GOOD, **change))]  # type: ignore[arg-type]
    compare(processes)
    assert processes[0].trouble is None
    assert processes[1].trouble is None if reason is None else reason in str(processes[1].trouble)


def test_the_share_counts_four_flops_for_each_parameter_and_real_token() -> None:
    line = summary(process_of("ours", GOOD), 1_000_000, 40e9)
    assert line["tokens_a_second"] == 2000
    assert line["share_of_matmul"] == pytest.approx(4 * 1_000_000 * 2000 / 40e9)
    trouble = process_of("trl", GOOD)
    trouble.trouble = "refused: its gradient is zero"
    figures = {"ours": line, "trl": summary(trouble, 1_000_000, 40e9)}
    assert figures["trl"] == {"result": "refused: its gradient is zero"}, "no speed stands beside it"
    rows = table(figures, {}, 40e9)
    assert any(row.startswith("(b) ours") and "20.0%" in row for row in rows)
    assert any(row.startswith("(c) TRL") and row.endswith("gradient is zero") for row in rows)


def test_peers_that_are_not_there_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = RoundSetting(tmp_path, "float32", PAIRS, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WayNotRunError, match="NVIDIA GPU"):
        ways.unsloth(setting)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WayNotRunError, match=r"trl is not installed \(benchmarks/requirements\.txt\)"):
        ways.trl(setting)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_it_prints_a_table_and_last_a_line_of_json(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/round.py", "--rounds", "1", "--samples", "6", "--threads", "1"]
    command += ["--model", str(make_tiny_model(tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *rows, last = done.stdout.splitlines()
    line = json.loads(last)
    assert line["benchmark"] == "round" and list(line["ways"]) == list(NAMES)
    our_line, original = line["ways"]["ours"], line["ways"]["original"]
    assert our_line["result"] == original["result"] == "ok"
    assert line["ratios"]["original"] == pytest.approx(original["seconds"] / our_line["seconds"], rel=0.02)
    assert original["losses"] == pytest.approx(our_line["losses"], rel=0.02)
    assert our_line["losses"][1] < our_line["losses"][0]
    assert our_line["tokens_a_second"] > 0 and our_line["gradient_norm"] > 0
    assert line["ways"]["unsloth"]["result"].startswith("not run: ") or torch.cuda.is_available()
    if importlib.util.find_spec("trl") is None:
        assert "trl is not installed" in line["ways"]["trl"]["result"]
    else:
        assert line["ways"]["trl"]["result"] == "ok"
    assert {NAMES["original"], NAMES["ours"]} <= {row[:14].strip() for row in rows}
