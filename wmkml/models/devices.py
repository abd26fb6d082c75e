"""The device that a command computes on: `--device`, one way everywhere."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from wmkml.system.memory import available_gib

if TYPE_CHECKING:
    import torch

AUTO = "auto"

NAMES = "auto, cpu, cuda, cuda:1, … or mps"


class DeviceMissingError(ValueError):
    """This machine has no device of that name.  The message says which there are."""


def add_device_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device", default=AUTO, metavar="NAME", help=f"where to compute: {NAMES} (default: auto, the fastest there is)"
    )


def default_device() -> torch.device:
    """CUDA, else Apple's GPU, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def find_device(name: str) -> torch.device:
    """The device of this name; `auto`: `default_device`.

    Raises:
        DeviceMissingError: torch knows no such name, or sees no such device here.
    """
    import torch

    if name == AUTO:
        return default_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceMissingError(f"--device: {name} is not known; allowed: {NAMES}.") from None
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = {"cpu": True, "cuda": (device.index or 0) < gpus, "mps": torch.backends.mps.is_available()}
    if device.type not in present:
        raise DeviceMissingError(f"--device: {name} is not supported; allowed: {NAMES}.")
    if not present[device.type]:
        have = ["cpu", *(f"cuda:{index}" for index in range(gpus)), *(["mps"] if present["mps"] else [])]
        raise DeviceMissingError(f"--device: torch sees no {name} on this machine; it has {', '.join(have)}.")
    return device


def free_gib(device: torch.device) -> float | None:
    """The memory in GiB that is free on a device; None where the system does not say."""
    import torch

    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0] / 2**30)
    return available_gib()
