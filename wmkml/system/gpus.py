"""The NVIDIA GPUs of this machine, as `nvidia-smi` lists them, and those that this process may use.

The only reader of `nvidia-smi`: plan, installer, doctor and desk ask here.  Standard library only: the installer asks
before anything is installed.  `WMKML_GPUS` replaces the detection (`0`, `3`, `3x80`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from wmkml.system.memory import memory_gib

GPUS_VARIABLE = "WMKML_GPUS"
"""The environment variable that replaces detection: how many GPUs, optionally followed by `x` and the GiB of each."""

PRETENDED_GIB = 80.0
"""GiB of a GPU that `WMKML_GPUS` names without a size: the original ran on A100s with 80."""

QUERY_SECONDS = 30
"""How long `nvidia-smi` may take; it is slow when it must wake the driver."""

FIELDS = (
    "index",
    "uuid",
    "memory.total",
    "memory.free",
    "memory.used",
    "utilization.gpu",
    "driver_version",
    "compute_cap",
    "name",
)
"""What `nvidia-smi` is asked for, as its `--help-query-gpu` names it.  The name is last: it may hold a comma."""

UNKNOWN_TO_OLD_DRIVERS = "compute_cap"
"""Old drivers refuse a question for this field as a whole, so they are asked again without it."""

LOST_WORDS = ("unable to determine the device handle", "is lost", "unknown error")
"""What `nvidia-smi` says, in small letters, of a card that has fallen off the bus; it then fails, or fails for that card."""

MOST_GPUS = 64
"""So many are asked for one by one, where a lost one keeps `nvidia-smi` from listing the others."""

Version = tuple[int, int]
"""Major and minor number."""


class GpusUnknownError(ValueError):
    """`WMKML_GPUS` cannot be read, or `CUDA_VISIBLE_DEVICES` names parts of a GPU.  The text is a sentence for the operator."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU; what is None is not known, or the GPU is pretended.

    Attributes:
        index: in bus order.
        memory_gib: its own memory, or the machine's if it has none of its own.
        free_gib, used_gib: of its own memory.
        busy: its utilisation from 0 to 1.
        driver: the driver's version; a machine has one driver for all its GPUs.
        capability: the compute capability.
        uuid: as `GPU-8932f937-d72c-4106-c12f-20bd9faed9f6`; empty: not known.
    """

    index: int
    name: str
    memory_gib: float
    free_gib: float | None = None
    used_gib: float | None = None
    busy: float | None = None
    driver: Version | None = None
    capability: Version | None = None
    uuid: str = ""


def visible_gpus(environment: Mapping[str, str] | None = None) -> tuple[Gpu, ...]:
    """The GPUs this process may use: those that `WMKML_GPUS` names, else those detected and in `CUDA_VISIBLE_DEVICES`.

    Raises:
        GpusUnknownError: `WMKML_GPUS` cannot be read, or `CUDA_VISIBLE_DEVICES` names parts of a GPU (MIG).
    """
    environment = os.environ if environment is None else environment
    description = environment.get(GPUS_VARIABLE, "").strip()
    return (
        pretended_gpus(description)
        if description
        else select_visible(detected_gpus(), environment.get("CUDA_VISIBLE_DEVICES"))
    )


def pretended_gpus(description: str) -> tuple[Gpu, ...]:
    """The GPUs that `WMKML_GPUS` describes: `0`, `3`, or with the memory of each in GiB, `3x80`.

    Raises:
        GpusUnknownError: the description has another form.
    """
    match = re.fullmatch(r"(\d{1,3})(?:x(\d+(?:\.\d+)?))?", description)
    if match is None:
        raise GpusUnknownError(
            f"{GPUS_VARIABLE}={description} is not allowed; allowed: a number of GPUs, as 3, or 3x80 (GiB each)."
        )
    memory = float(match[2]) if match[2] else PRETENDED_GIB
    return tuple(Gpu(index, "pretended GPU", memory) for index in range(int(match[1])))


def detected_gpus(seconds: float = QUERY_SECONDS) -> tuple[Gpu, ...]:
    """The GPUs that `nvidia-smi` lists; none if it is missing, fails, or takes longer than `seconds`.

    A card that has fallen off the bus is not among them; the others are, also where `nvidia-smi` fails over it.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    deadline = time.monotonic() + seconds
    try:
        for fields in (FIELDS, tuple(field for field in FIELDS if field != UNKNOWN_TO_OLD_DRIVERS)):
            done = _query(tool, fields, deadline)
            if done.returncode == 0:
                return parse_nvidia_smi(done.stdout, fields)
            if _tells_of_a_lost_card(done):
                return _each_gpu(tool, fields, deadline)
    except (OSError, subprocess.TimeoutExpired):
        pass
    return ()


def _each_gpu(tool: str, fields: tuple[str, ...], deadline: float) -> tuple[Gpu, ...]:
    """The GPUs that answer when each is asked by itself.

    Raises:
        OSError, subprocess.TimeoutExpired: the tool does not start, or it takes too long.
    """
    gpus: list[Gpu] = []
    for index in range(MOST_GPUS):
        done = _query(tool, fields, deadline, "-i", str(index))
        if done.returncode == 0:
            gpus += parse_nvidia_smi(done.stdout, fields)
        elif not _tells_of_a_lost_card(done):
            break  # there is no card with this index
    return tuple(gpus)


def _query(tool: str, fields: tuple[str, ...], deadline: float, *words: str) -> subprocess.CompletedProcess[str]:
    query = [tool, *words, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    left = max(0.0, deadline - time.monotonic())
    return subprocess.run(query, capture_output=True, text=True, timeout=left, check=False)


def _tells_of_a_lost_card(done: subprocess.CompletedProcess[str]) -> bool:
    text = (done.stdout + done.stderr).lower()
    return any(words in text for words in LOST_WORDS)


def select_visible(gpus: tuple[Gpu, ...], chosen: str | None) -> tuple[Gpu, ...]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` (`chosen`) lists, in its order; all if it is unset.

    As CUDA reads it: indices, or beginnings of UUIDs that fit one GPU alone; what comes after the first entry that is neither
    counts no more, so that `-1` and `NoDevFiles` hide all; a GPU that is listed twice hides all too.  An index between others
    is that of a GPU that was lost since, and is left out.

    Raises:
        GpusUnknownError: it names parts of a GPU (MIG).
    """
    if chosen is None:
        return gpus
    entries = [entry.strip() for entry in chosen.split(",")]
    if any(entry.startswith("MIG-") for entry in entries):
        raise GpusUnknownError(
            f"CUDA_VISIBLE_DEVICES={chosen} names parts of a GPU (MIG), whose memory nvidia-smi does not list by themselves. "
            "Name whole GPUs, as CUDA_VISIBLE_DEVICES=0, with MIG turned off there (sudo nvidia-smi -i 0 -mig 0); or describe "
            "what may be used with WMKML_GPUS, as 1x20 for one of 20 GiB."
        )
    by_index = {gpu.index: gpu for gpu in gpus}
    visible: list[Gpu] = []
    for entry in entries:
        if entry.isdecimal() and int(entry) <= max(by_index, default=-1):
            matches = [by_index[int(entry)]] if int(entry) in by_index else []
        else:
            matches = [gpu for gpu in gpus if entry.startswith("GPU-") and gpu.uuid.startswith(entry)]
            if len(matches) != 1:
                break
        if any(gpu in visible for gpu in matches):
            return ()
        visible += matches
    return tuple(visible)


def parse_nvidia_smi(answer: str, fields: tuple[str, ...] = FIELDS) -> tuple[Gpu, ...]:
    """Parse `nvidia-smi`'s lines of these fields, of which the name is the last; other lines are skipped.

    A GPU without memory of its own (`[N/A]`) shares the machine's; one that is lost (`[GPU is lost]`) is skipped.
    """
    gpus = []
    for line in answer.splitlines():
        values = [value.strip() for value in line.split(",", len(fields) - 1)]
        card = dict(zip(fields, values, strict=False))
        if len(values) < len(fields) or not card["index"].isdigit():
            continue
        total, busy = card["memory.total"], card["utilization.gpu"]
        if any(words in total.lower() for words in LOST_WORDS):
            continue
        gpus.append(
            Gpu(
                index=int(card["index"]),
                name=card["name"],
                memory_gib=int(total) / 1024 if total.isdigit() else memory_gib(),
                free_gib=_gib(card["memory.free"]),
                used_gib=_gib(card["memory.used"]),
                busy=int(busy) / 100 if busy.isdigit() else None,
                driver=parse_version(card["driver_version"]),
                capability=parse_version(card.get("compute_cap", "")),
                uuid=card["uuid"] if card["uuid"].startswith("GPU-") else "",
            )
        )
    return tuple(gpus)


def parse_version(text: str) -> Version | None:
    """The first two numbers of a version, as of `580.65.06`; None if the text is none."""
    match = re.fullmatch(r"(\d+)\.(\d+)(?:\.\d+)*", text)
    return (int(match[1]), int(match[2])) if match else None


def _gib(mebibytes: str) -> float | None:
    return int(mebibytes) / 1024 if mebibytes.isdigit() else None
