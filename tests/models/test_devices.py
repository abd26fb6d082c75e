"""`--device`: one way of naming where to compute, for every command."""

from __future__ import annotations

import argparse

import pytest
import torch

from wmkml.models.devices import DeviceMissingError, add_device_argument, default_device, find_device

NO_GPU = not torch.cuda.is_available() and not torch.backends.mps.is_available()


def test_what_is_there_is_found_and_auto_is_the_fastest() -> None:
    parser = argparse.ArgumentParser()
    add_device_argument(parser)
    assert find_device(parser.parse_args([]).device) == default_device()
    assert find_device(parser.parse_args(["--device", "cpu"]).device) == torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(1, True, "cuda"), (0, True, "mps"), (0, False, "cpu")], ids=["gpu", "apple", "none"]
)
def test_auto_takes_a_gpu_before_the_cpu(
    cuda: int, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A GPU cannot be had here: torch's answers about it are replaced.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_device("auto").type == expected
    if cuda:
        assert find_device("cuda:0") == torch.device("cuda:0")
        with pytest.raises(DeviceMissingError, match="sees no cuda:1 on this machine; it has cpu, cuda:0, mps"):
            find_device("cuda:1")


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toaster", "toaster is not known; allowed: auto, cpu"),
        ("xpu", "xpu is not supported; allowed"),
        ("cuda", "torch sees no cuda on this machine; it has cpu"),
        ("cuda:7", "torch sees no cuda:7 on this machine; it has cpu"),
        ("mps", "torch sees no mps on this machine; it has cpu"),
    ],
)
def test_what_is_not_there_is_refused_in_words(name: str, message: str) -> None:
    with pytest.raises(DeviceMissingError, match=message):
        find_device(name)
