"""Which build of torch and vLLM a driver gets, and what a dry run says of it on machines that a stand-in describes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from wmkml.install import steps
from wmkml.install.decision import decide
from wmkml.install.driver import CannotServeError, Card, choose_build, parse_cards

ROOT = Path(__file__).parent.parent.parent

A100 = "8.0, NVIDIA A100-SXM4-80GB"
H100 = "9.0, NVIDIA H100 80GB HBM3"
RTX_4090 = "8.9, NVIDIA GeForce RTX 4090"
RTX_5090 = "12.0, NVIDIA GeForce RTX 5090"
T4 = "7.5, Tesla T4"


def cards(version: str, *names: str) -> tuple[Card, ...]:
    return parse_cards("\n".join(f"{version}, {name}" for name in names))


@pytest.mark.parametrize(
    ("version", "card", "flavour", "compatibility"),
    [
        ("580.65.06", A100, "cuda", False),
        ("580.65.06", RTX_5090, "cuda", False),
        ("590.44.01", H100, "cuda", False),
        ("579.99.99", A100, "cuda12", False),
        ("575.51.03", H100, "cuda12", False),
        ("575.51.03", RTX_5090, "cuda12", False),
        ("570.86.15", A100, "cuda12", False),
        ("570.86.15", RTX_4090, "cuda12", False),
        ("570.86.15", H100, "cuda12", True),
        ("550.54.15", T4, "cuda12", False),
        ("550.54.15", H100, "cuda12", True),
        ("525.60.13", RTX_4090, "cuda12", False),
        ("525.60.13", H100, "cuda12", True),
    ],
)
def test_a_driver_gets_the_newest_build_that_it_runs(
    version: str, card: str, flavour: str, compatibility: bool
) -> None:
    build = choose_build(cards(version, card))
    assert (build.flavour, build.compatibility) == (flavour, compatibility)
    assert version.partition(".")[0] in build.reason


@pytest.mark.parametrize(
    ("version", "card", "words"),
    [
        ("524.99.99", A100, "The NVIDIA driver is 524.99; torch and vLLM need 525 or newer"),
        ("470.82.01", RTX_4090, "The NVIDIA driver is 470.82"),
        ("570.86.15", RTX_5090, "NVIDIA GeForce RTX 5090 is none"),
        ("580.65.06", "7.0, Tesla V100-SXM2-16GB", "Tesla V100-SXM2-16GB has compute capability 7.0"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_downloaded(version: str, card: str, words: str) -> None:
    with pytest.raises(CannotServeError) as refusal:
        choose_build(cards(version, card))
    assert words in str(refusal.value)


def test_one_card_that_cannot_decides_for_all() -> None:
    with pytest.raises(CannotServeError, match="RTX 5090 is none"):
        choose_build(cards("570.86.15", H100, RTX_5090))
    assert choose_build(cards("570.86.15", A100, H100)).compatibility


def test_a_driver_without_a_version_gets_the_build_that_is_usual_and_the_reason_says_so() -> None:
    build = choose_build((Card("pretended GPU", None, None),))
    assert build.flavour == "cuda"
    assert "does not tell" in build.reason


def test_a_card_whose_capability_is_not_told_counts_as_new() -> None:
    assert choose_build(parse_cards("550.54.15, NVIDIA H100 80GB HBM3")).compatibility
    with pytest.raises(CannotServeError, match="is none"):
        choose_build(parse_cards("550.54.15, NVIDIA GeForce RTX 4090"))


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA H100 PCIe",
        "NVIDIA L40S",
        "NVIDIA L4",
        "Tesla T4",
        "NVIDIA GH200 480GB",
        "NVIDIA A10G",
    ],
)
def test_data_centre_cards_are_known(name: str) -> None:
    assert Card(name, None, None).data_centre


@pytest.mark.parametrize(
    "name",
    ["NVIDIA GeForce RTX 4090", "NVIDIA RTX A4000", "NVIDIA RTX A2000 12GB", "NVIDIA TITAN RTX", "NVIDIA RTX 6000 Ada"],
)
def test_other_cards_are_not_taken_for_data_centre_cards(name: str) -> None:
    assert not Card(name, None, None).data_centre


def test_what_nvidia_smi_says_is_read() -> None:
    assert parse_cards("550.54.15, 8.0, NVIDIA A100\n\n[N/A], [N/A], Orin, an odd name\n") == (
        Card("NVIDIA A100", (550, 54), (8, 0)),
        Card("Orin, an odd name", None, None),
    )


def test_an_environment_for_cuda_12_stays_when_the_driver_becomes_newer() -> None:
    stamp = {"flavour": "cuda12", "digest": "x", "tests": False}
    assert decide("linux", cards("580.65.06", A100), stamp).flavour == "cuda12"
    assert decide("linux", cards("580.65.06", A100), None).flavour == "cuda"


def test_an_environment_for_cuda_13_goes_when_the_driver_cannot_run_it() -> None:
    stamp = {"flavour": "cuda", "digest": "x", "tests": False}
    assert decide("linux", cards("550.54.15", A100), stamp).flavour == "cuda12"
    assert decide("linux", cards("580.65.06", A100), stamp).flavour == "cuda"


@pytest.mark.parametrize("flavour", steps.FOR_GPUS)
def test_gpus_that_are_away_keep_their_environment(flavour: steps.Flavour) -> None:
    stamp = {"flavour": flavour, "digest": "x", "tests": False, "library_path": "/usr/local/cuda-12.9/compat"}
    kept = decide("linux", (), stamp)
    assert (kept.flavour, kept.gpus, kept.compatibility) == (flavour, None, True)
    assert kept.is_installed(stamp, "x")


def test_an_environment_without_the_compatibility_that_is_now_needed_is_not_finished(tmp_path: Path) -> None:
    stamp = {"flavour": "cuda12", "digest": "x", "tests": False}
    wanted = decide("linux", cards("550.54.15", H100), stamp)
    assert not wanted.is_installed(stamp, "x")
    assert wanted.is_installed({**stamp, "library_path": str(tmp_path)}, "x")
    assert not wanted.is_installed({**stamp, "library_path": str(tmp_path)}, "y")
    assert not wanted.is_installed({**stamp, "library_path": str(tmp_path / "gone")}, "x"), "a fresh container"


def test_a_stamp_from_before_there_was_a_choice_is_what_is_wanted_now() -> None:
    before = {"flavour": "cuda", "digest": steps.digest(ROOT, "cuda", tests=False), "tests": False}
    wanted = decide("linux", cards("580.65.06", A100, A100, A100), before)
    assert wanted.is_installed(before, steps.digest(ROOT, wanted.flavour, tests=False))


def test_the_pins_for_cuda_12_are_the_releases_of_the_others() -> None:
    lines = (ROOT / "requirements-vllm-cuda12.txt").read_text(encoding="utf-8").splitlines()
    assert f"{steps.TORCH}+cu129" in lines
    assert f"vllm=={steps.VLLM_CUDA12}" in lines
    assert f"--extra-index-url {steps.TORCH_CUDA12_INDEX}" in lines
    release = steps.VLLM_CUDA12.partition("+")[0]
    assert f"vllm=={release}" in (ROOT / "requirements-vllm.txt").read_text(encoding="utf-8").splitlines()
    assert f"--extra-index-url https://wheels.vllm.ai/{release}/cu129" in lines
    calls = [step.pip for step in steps.install_steps("cuda12", tests=False)]
    assert ("install", "-r", "requirements.txt", "-r", "requirements-vllm-cuda12.txt") in calls
    assert calls[0] == ("install", f"{steps.TORCH}+cu129", "--extra-index-url", steps.TORCH_CUDA12_INDEX)


def dry_run(folder: Path, version: str, *names: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`./master_script.sh install --dry-run` where nvidia-smi lists these cards with this driver."""
    lines = [
        f"echo '{index}, GPU-{index}, 81920, 81000, 920, 0, {version}, {name}'" for index, name in enumerate(names)
    ]
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\n# A stand-in for NVIDIA's tool.\n" + "\n".join(lines) + "\n", encoding="utf-8")
    tool.chmod(0o755)
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("WMKML_GPUS", "CUDA_VISIBLE_DEVICES")
    }
    return subprocess.run(
        ["./master_script.sh", "install", "--dry-run", "--platform", "linux"],
        cwd=ROOT,
        env=inherited | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("version", "card", "present", "absent"),
    [
        ("525.60.13", A100, "requirements-vllm-cuda12.txt", "cuda-compat"),
        ("525.60.13", RTX_4090, "requirements-vllm-cuda12.txt", "cuda-compat"),
        ("550.54.15", H100, "cuda-compat-12-9", "requirements-vllm.txt"),
        ("550.54.15", RTX_4090, "requirements-vllm-cuda12.txt", "cuda-compat"),
        ("570.86.15", A100, "requirements-vllm-cuda12.txt", "cuda-compat"),
        ("570.86.15", H100, "cuda-compat-12-9", "requirements-vllm.txt"),
        ("580.65.06", A100, "requirements-vllm.txt", "cuda12"),
        ("580.65.06", RTX_4090, "requirements-vllm.txt", "cuda12"),
    ],
)
def test_a_dry_run_says_what_this_driver_gets(
    tmp_path: Path, version: str, card: str, present: str, absent: str
) -> None:
    done = dry_run(tmp_path, version, card, card, card)
    assert done.returncode == 0, done.stderr
    assert f"machine: 3 GPUs ({card.partition(', ')[2]}); driver {version[:3]}" in done.stdout
    assert present in done.stdout
    assert absent not in done.stdout
    assert "torch must compute on 3 GPUs" in done.stdout
    assert "space: 12 GiB for env/" in done.stdout


@pytest.mark.process
def test_a_dry_run_refuses_what_cannot_run_in_one_line(tmp_path: Path) -> None:
    done = dry_run(tmp_path, "570.86.15", RTX_5090)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Install driver 580" in done.stderr


@pytest.mark.process
def test_hidden_cards_are_not_counted(tmp_path: Path) -> None:
    some = dry_run(tmp_path, "580.65.06", A100, A100, A100, CUDA_VISIBLE_DEVICES="0,2")
    assert "machine: 2 GPUs" in some.stdout
    none = dry_run(tmp_path, "470.82.01", A100, CUDA_VISIBLE_DEVICES="")
    assert none.returncode == 0, none.stderr
    assert "requirements-vllm-cpu.txt" in none.stdout


@pytest.mark.process
def test_a_driver_can_be_pretended() -> None:
    cards_ = ["--nvidia-smi", f"550.54.15, {A100}", "--nvidia-smi", f"550.54.15, {A100}"]
    command = ["./master_script.sh", "install", "--dry-run", "--platform", "linux", *cards_]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "machine: 2 GPUs (NVIDIA A100-SXM4-80GB); driver 550 is older than 580" in done.stdout
