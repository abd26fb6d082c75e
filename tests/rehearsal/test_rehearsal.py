"""The whole rehearsal by the command of the README: a cluster, visitors, a run, and the report."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import pytest

from tests.project.readme import commands
from wmkml.config.paths import PROJECT
from wmkml.measures.registry import measured_once
from wmkml.rehearsal import Report
from wmkml.rehearsal.receiver import expected_addresses

LESS = "".join(
    f" --set {setting}"
    for setting in (
        "inference.panel_answers=1",
        "inference.num_generated_responses=1",
        "inference.max_tokens=40",
        "finetuning.samples_by_iteration=12",
        "finetuning.sample_increase_by_iteration=0",
    )
)
"""A model in software answers hundreds of times in a rehearsal, and learns from dozens of samples: fewer are the same to the report."""


def rehearse(command: str, report: Path, timeout: float) -> tuple[Report, str]:
    """Run a rehearsal as a reader of the README would; returns the report and the output."""
    done = subprocess.run(
        ["bash", "-c", command.replace("report.json", str(report))],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return Report.model_validate_json(report.read_text(encoding="utf-8")), done.stdout


def check_report(report: Report, rounds: int) -> None:
    """Check a report for what every rehearsal must show; figures that depend on the machine are left out."""
    assert report.problems == [] and report.ok
    assert [round_.iteration for round_ in report.rounds] == list(range(rounds))
    for round_ in report.rounds:
        assert round_.samples > 0 and round_.tokens > 0 and round_.train_seconds > 0 and round_.swap_seconds > 0
        assert round_.learning_rate > 0 and math.isfinite(round_.loss_first) and math.isfinite(round_.loss_last)
    visits = report.visits
    assert visits.sent == visits.answered > rounds and visits.failed == 0
    for figures in (visits.quiet_first_token_ms, visits.first_token_ms):
        assert 0 < figures.median <= figures.p95 <= figures.max
    assert 0 <= visits.token_gap_ms.median <= visits.token_gap_ms.p95 <= visits.token_gap_ms.max
    # An answer was under way at a swap: the first visitor sees to it.
    assert visits.swap_gap_ms_max != "not seen"
    assert 0 <= visits.swap_gap_ms_max <= visits.token_gap_ms.max
    pairs = report.pairs
    assert pairs.visitor == visits.answered and pairs.echo > 0 and pairs.persistent > 0
    assert {address for address, count in report.osc.items() if count > 0} >= set(expected_addresses())
    assert report.osc["/prompt"] == report.osc["/response"] == report.osc["/iteration"] == visits.answered
    assert report.osc["/swap"] == rounds
    assert [figures.iteration for figures in report.measures] == list(range(-1, rounds))
    for measured in report.measures:
        assert (
            {measure.name for measure in measured_once()}
            >= measured.values.keys()
            >= {"perplexity", "next_token_entropy"}
        )
        assert (measured.values["perplexity"] or 0.0) > 1.0
    assert report.seconds > 0 and report.start_seconds > 0


@pytest.mark.process
@pytest.mark.timeout(600)
def test_two_rounds_with_transformers(tmp_path: Path) -> None:
    (command,) = commands("rehearsal")
    report, printed = rehearse(f"{command} --engine transformers{LESS}", tmp_path / "report.json", 580)
    assert (report.engine, report.model) == ("transformers", "understudy")
    check_report(report, 2)
    assert "Round 1 is trained" in printed and "Iteration 1 answers" in printed
    assert "swap, slowest round" in printed and "first token, p95" in printed
    [line] = [line for line in printed.splitlines() if "longest gap at a swap" in line]
    assert "reached" in line or "missed" in line


@pytest.mark.long
@pytest.mark.vllm
@pytest.mark.timeout(1200)
def test_five_rounds_with_vllm(tmp_path: Path) -> None:
    command = "./master_script.sh --rehearse 5 --engine vllm --report report.json"
    report, _ = rehearse(command, tmp_path / "report.json", 1180)
    assert report.engine == "vllm"
    check_report(report, 5)


@pytest.mark.process
@pytest.mark.timeout(60)
def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    command = f"env/bin/python -m wmkml rehearse --set general.data_folder={tmp_path}"
    done = subprocess.run(["bash", "-c", command], cwd=PROJECT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 2
    assert "No rehearsal" in done.stdout and "no cluster has been started" in done.stdout
