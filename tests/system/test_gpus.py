"""What is read of `nvidia-smi`, from real processes that stand in for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wmkml.install.decision import usable_cards
from wmkml.install.driver import Card
from wmkml.owner.problems.machine import desk_gpus
from wmkml.system.gpus import (
    Gpu,
    GpusUnknownError,
    detected_gpus,
    parse_nvidia_smi,
    parse_version,
    select_visible,
    visible_gpus,
)
from wmkml.system.memory import memory_gib


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a tool of this name first into PATH."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_every_field_is_understood() -> None:
    answer = (
        "0, GPU-8932f937, 81920, 81000, 920, 37, 580.65.06, 8.0, NVIDIA A100-SXM4-80GB\n"
        "1, [N/A], 81920, 1024, 80896, [N/A], 580.65.06, [N/A], Some, Thing\n"
        "\nNVIDIA-SMI has failed\n"
    )
    assert parse_nvidia_smi(answer) == (
        Gpu(0, "NVIDIA A100-SXM4-80GB", 80.0, 81000 / 1024, 920 / 1024, 0.37, (580, 65), (8, 0), "GPU-8932f937"),
        Gpu(1, "Some, Thing", 80.0, 1.0, 79.0, None, (580, 65), None),
    )


def test_a_gpu_without_memory_of_its_own_shares_the_machines() -> None:
    (shared,) = gpus = parse_nvidia_smi("0, GPU-1, [N/A], [N/A], [N/A], 3, 580.65.06, 12.1, NVIDIA GB10\n")
    assert (shared.index, shared.free_gib, shared.busy) == (0, None, 0.03)
    assert shared.memory_gib == pytest.approx(memory_gib())
    assert desk_gpus(gpus) == []


def test_the_desk_shows_what_is_used() -> None:
    [shown] = desk_gpus((Gpu(0, "NVIDIA A100", 80.0, 79.0, 1.0, 0.5),))
    assert (shown.name, shown.used_gib, shown.total_gib, shown.busy) == ("NVIDIA A100", 1.0, 80.0, 0.5)


@pytest.mark.parametrize(("text", "version"), [("580.65.06", (580, 65)), ("8.0", (8, 0)), ("[N/A]", None), ("", None)])
def test_versions_are_read(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.process
def test_a_driver_that_does_not_know_compute_cap_is_asked_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = 'case "$1" in *compute_cap*) echo \'Field "compute_cap" is not a valid field to query.\'; exit 2 ;; esac'
    stand_in(tmp_path, monkeypatch, f"{refusal}\necho '0, GPU-1, 15109, 15000, 109, 0, 470.82.01, Tesla T4'")
    (gpu,) = detected_gpus()
    assert (gpu.name, gpu.driver, gpu.capability) == ("Tesla T4", (470, 82), None)
    assert usable_cards({}) == (Card("Tesla T4", (470, 82), None),)
    assert usable_cards({"CUDA_VISIBLE_DEVICES": ""}) == ()


FOUR = tuple(
    Gpu(index, "NVIDIA A100", 80.0, uuid=f"GPU-{start}-d72c")
    for index, start in enumerate(["8932f937", "8932aaaa", "0c1f", "77aa"])
)


@pytest.mark.parametrize(
    ("chosen", "indices"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("none", []),
        ("2, 0", [2, 0]),
        ("1,-1,2", [1]),
        ("0,7,1", [0]),
        ("0,0", []),
        ("GPU-0c1f,GPU-8932f", [2, 0]),
        ("GPU-8932f937-d72c", [0]),
        ("GPU-77,GPU-8932,GPU-0c", [3]),
        ("GPU-unknown,0", []),
        ("0,GPU-8932f937", []),
    ],
)
def test_what_is_visible_is_what_cuda_would_see(chosen: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in select_visible(FOUR, chosen)] == indices


def test_a_lost_card_between_others_hides_none_of_them() -> None:
    assert [gpu.index for gpu in select_visible((FOUR[0], FOUR[2]), "0,1,2,3")] == [0, 2]


def test_parts_of_a_gpu_are_refused_with_what_to_do() -> None:
    with pytest.raises(GpusUnknownError, match=r"CUDA_VISIBLE_DEVICES=MIG-1c2d names parts .* nvidia-smi -i 0 -mig 0"):
        select_visible(FOUR, "MIG-1c2d")


@pytest.mark.process
def test_a_card_is_chosen_by_its_uuid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ", 81920, 81000, 920, 0, 580.65.06, 8.0, NVIDIA A100"
    stand_in(tmp_path, monkeypatch, f"echo '0, GPU-aa{row}'; echo '1, GPU-bb{row}'")
    assert [gpu.index for gpu in visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-b"})] == [1]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == ()
    assert usable_cards({"CUDA_VISIBLE_DEVICES": "-1"}) == ()


LOST = "Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU"
"""What `nvidia-smi` says of a card that has fallen off the bus."""


def test_a_card_that_is_lost_is_not_there() -> None:
    answer = (
        "0, GPU-1, 81920, 81000, 920, 37, 580.65.06, 8.0, NVIDIA A100\n"
        "1, [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], 580.65.06, [GPU is lost], NVIDIA A100\n"
        "2, GPU-3, [Unknown Error], [Unknown Error], [Unknown Error], 0, 580.65.06, 8.0, NVIDIA A100\n"
    )
    assert [gpu.index for gpu in parse_nvidia_smi(answer)] == [0]


@pytest.mark.process
def test_the_cards_beside_a_lost_one_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = "'0, GPU-1, 81920, 81000, 920, 37, 580.65.06, 8.0, NVIDIA A100'"
    script = (
        f"case \"$*\" in *'-i 0'*) echo {card} ;; *'-i 2'*) echo {card.replace('0,', '2,', 1)} ;; "
        f"*'-i 3'*) echo 'No devices were found'; exit 6 ;; *) echo '{LOST}'; exit 15 ;; esac"
    )
    stand_in(tmp_path, monkeypatch, script)
    assert [gpu.index for gpu in detected_gpus()] == [0, 2]


@pytest.mark.process
@pytest.mark.parametrize("script", ["exit 9", "exec sleep 60"], ids=["fails", "hangs"])
def test_a_tool_that_gives_no_answer_lists_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    stand_in(tmp_path, monkeypatch, script)
    assert detected_gpus(seconds=0.5) == ()
