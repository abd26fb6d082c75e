"""benchmarks/gpu.py: its steps survive one another, its lines can be read, and a trial of it runs on a CPU.

What it measures needs a GPU; nothing here holds a figure.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_steps import kernels as gpu_kernels
from benchmarks.gpu_steps.model import write_model
from benchmarks.gpu_steps.step import FigureRecorder, StepFailedError, StepSetting
from benchmarks.gpu_steps.training import check_rounds
from wmkml.config.paths import PROJECT
from wmkml.training.kernels import choice

OWN_VARIABLE = "WMKML_GPU_BENCHMARK_TEST"
"""Environment variable that tells the processes of these tests from those of others on this machine."""

ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", OWN_VARIABLE: str(os.getpid())}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/gpu.py", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def lines_of(output: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The steps' lines by name, in order, and the last line; NaN is no JSON."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    texts = [text for text in output.splitlines() if text.startswith("{")]
    *lines, last = [json.loads(text, parse_constant=refuse) for text in texts]
    assert last["steps"] == lines
    assert output.splitlines()[-1] == texts[-1]
    return {line["step"]: line for line in lines}, last


# --- which steps -----------------------------------------------------------------------------------------------------


def test_the_limits_are_nine_minutes_in_all_and_ten_with_several_gpus() -> None:
    limits = {step.name: step.limit for step in gpu.chosen_steps(None)}
    # Where there is one GPU it is over at once.
    assert (sum(limits.values()) - limits["devices"], limits["devices"]) == (540, 60)


def test_a_step_brings_the_steps_whose_files_it_needs_in_order() -> None:
    assert [step.name for step in gpu.chosen_steps("vllm, tools")] == ["tools", "model", "adapter", "vllm"]


def test_every_step_has_a_function() -> None:
    assert all(callable(gpu._function(step.name)) for step in gpu.STEPS)


def test_the_docs_tell_what_each_step_shows() -> None:
    page = (PROJECT / "docs" / "gpu.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    documented = [row[1].strip(" `") for row in rows if row[1].strip(" `") in {step.name for step in gpu.STEPS}]
    names = [step.name for step in gpu.chosen_steps(None)]
    assert documented[: len(names)] == names


def test_an_unknown_step_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        gpu.chosen_steps("rounds,round")
    assert refusal.value.code == 2
    printed = capsys.readouterr().err
    assert "no step round." in printed
    assert all(step.name in printed for step in gpu.STEPS)


# --- what counts as a figure -----------------------------------------------------------------------------------------


def test_a_figure_is_in_the_file_at_once_and_no_number_breaks_it(tmp_path: Path) -> None:
    record = FigureRecorder(tmp_path / "step.json")
    record(speed=1.23456789, lines=[{"norm": float("nan")}])
    assert json.loads((tmp_path / "step.json").read_text()) == {"speed": 1.2346, "lines": [{"norm": "nan"}]}
    record.close("failed", "why")
    assert json.loads((tmp_path / "step.json").read_text())["result"] == "failed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gradient_norms": [0.3, 0.0]}, "gradient of zero"),
        ({"gradient_norms": [float("nan")]}, "gradient of zero"),
        ({"adapter_change": 0.0}, "adapter as it was"),
        ({"moved_nats": 0.0}, "adapter as it was"),
    ],
)
def test_the_speed_of_a_round_that_trained_nothing_is_refused(change: dict[str, Any], reason: str) -> None:
    line = {"samples": 60, "gradient_norms": [0.3, 0.2], "adapter_change": 0.01, "moved_nats": 0.02}
    check_rounds([line])
    with pytest.raises(StepFailedError, match=reason):
        check_rounds([line | change])


@pytest.mark.slow
def test_packing_is_measured_beside_padding_and_what_is_refused_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pretended GPU: the decisions are a GPU's, what they decide is computed on the CPU.
    setting = StepSetting(tmp_path, "tiny", "float32")
    write_model(setting, setting.model_folder, torch.device("cpu"))
    monkeypatch.setattr(gpu_kernels, "device_of", lambda setting: torch.device("cuda"))
    monkeypatch.setattr(choice, "_refusal_of_packing", lambda base: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 2**30)
    gpu_kernels.fast_kernels(setting, FigureRecorder(tmp_path / "step.json"))
    figures = json.loads((tmp_path / "step.json").read_text())
    assert [way["way"] for way in figures["ways"]] == ["padded", "packed"]
    assert figures["refused"] == ["Liger"] and figures["loss_difference"] < 1e-4
    assert figures["decision"] == "Training with packing, without Liger's kernels (no CUDA)"


# --- real processes --------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_steps_that_raise_hang_or_crash_have_failed_and_the_next_one_runs() -> None:
    done = run("--shape", "tiny", "--steps", "broken,hangs,crashes")
    lines, last = lines_of(done.stdout)
    assert done.returncode == 1
    assert list(lines) == last["failed"] == ["broken", "hangs", "crashes"]
    assert last["trial"] is True and "A TRIAL OF THIS SCRIPT" in done.stdout
    assert (
        lines["broken"]["broken_figure"] == "nan" and "RuntimeError: this step is broken" in lines["broken"]["reason"]
    )
    assert "not over after 2 s" in lines["hangs"]["reason"]
    assert "SIGSEGV" in lines["crashes"]["reason"]
    assert all(line["result"] == "failed" and line["figure"] == 1.0 for line in lines.values())
    assert marked() == []


@pytest.mark.process
def test_whoever_ends_it_ends_the_step_under_way_and_its_folder(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--steps", "hangs", "--patience", "100"]
    environment = ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not any(child.name() == "sleep" for child in marked()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert marked() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_without_a_gpu_it_says_why_and_measures_nothing() -> None:
    lines, last = lines_of(run("--steps", "tools,optimizers", "--patience", "6").stdout)
    assert lines["tools"]["result"] == "failed" and "no GPU" in lines["tools"]["reason"]
    assert last["not_run"] == ["model", "optimizers"]
    assert "torch finds no GPU" in lines["model"]["reason"]


@pytest.mark.process
def test_a_step_that_does_what_it_should_is_ok() -> None:
    done = run("--shape", "tiny", "--steps", "model", "--patience", "6")
    lines, last = lines_of(done.stdout)
    assert done.returncode == 0, done.stderr
    assert last["failed"] == last["not_run"] == []
    assert lines["model"]["result"] == "ok" and lines["model"]["parameters"] > 0


@pytest.mark.slow
def test_a_trial_trains_recovers_and_serves_what_it_trained(tmp_path: Path) -> None:
    """In this process: that each step has its own is shown above."""
    setting, lines = StepSetting(tmp_path, "tiny", "auto"), dict[str, dict[str, Any]]()
    for step in gpu.chosen_steps("rounds,recovery,adapter"):
        gpu.run_here(step.name, setting)
        lines[step.name] = json.loads((tmp_path / f"{step.name}.json").read_text(encoding="utf-8"))
    assert {name: line["result"] for name, line in lines.items()} == dict.fromkeys(
        ("model", "rounds", "recovery", "adapter"), "ok"
    )
    check_trial(lines)


@pytest.mark.long
@pytest.mark.vllm
@pytest.mark.timeout(1800)
def test_a_whole_trial() -> None:
    done = run("--shape", "tiny", "--patience", "6")
    lines, last = lines_of(done.stdout)
    assert list(lines) == [step.name for step in gpu.chosen_steps(None)]
    assert last["failed"] == [], done.stderr
    assert lines["nf4"]["result"] == "not run" and "GPU" in lines["nf4"]["reason"]
    check_trial(lines)
    assert max(lines["gradients"][f"difference_{way}"] for way in ("of_1024", "one_by_one")) < 0.05
    assert len(lines["profile"]["kernels"]) == 10
    assert lines["kill"]["held_gib"] > 0.1 and lines["kill"]["after_gib"] < 0.05
    assert lines["cluster"]["visits_answered"] == lines["cluster"]["visits_sent"] > 0
    if lines["vllm"]["result"] == "ok":
        assert lines["vllm"]["swap_under_load"]["verdict"] == "proved"


def check_trial(lines: dict[str, dict[str, Any]]) -> None:
    """What a trial of rounds, recovery and adapter must have found."""
    assert [line["samples"] for line in lines["rounds"]["rounds"]] == [60, 180]
    for line in lines["rounds"]["rounds"]:
        # Two epochs of samples of 100 to 250 tokens.
        assert 2 * 100 < line["tokens"] / line["samples"] < 2 * 250
        assert line["losses"][-1] < line["losses"][0]
    assert lines["recovery"]["halvings"] >= 1
    assert lines["adapter"]["first_swap"]["verdict"] == lines["adapter"]["second_swap"]["verdict"] == "proved"


def marked() -> list[psutil.Process]:
    """Living processes of steps that these tests run."""
    processes = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            own = environment.get(OWN_VARIABLE) == str(os.getpid()) and gpu.MARK_VARIABLE in environment
            if own and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return processes
