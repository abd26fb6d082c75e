"""The environment variables that a process with GPUs needs on this machine.  Standard library only."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

STAMP = "installed.json"
"""The installer's record in the virtual environment; its `library_path` is a folder of libraries to load before the driver's."""


def find_nvcc(environment: Mapping[str, str]) -> str | None:
    """CUDA's compiler where FlashInfer looks for it: CUDA_HOME, PATH, /usr/local/cuda; None if there is none."""
    folders = [f"{environment[name]}/bin" for name in ("CUDA_HOME", "CUDA_PATH") if environment.get(name)]
    path = os.pathsep.join([*folders, environment.get("PATH", os.defpath), "/usr/local/cuda/bin"])
    return shutil.which("nvcc", path=path)


def gpu_environment(environment: Mapping[str, str] | None = None, prefix: Path | None = None) -> dict[str, str]:
    """The variables for a process with GPUs.

    Args:
        environment: of this process, which the other inherits.
        prefix: the virtual environment; default: the one that runs this.
    """
    environment = os.environ if environment is None else environment
    variables = {}
    # FlashInfer compiles its sampler when vLLM starts, with nvcc and a C++ compiler; vLLM's own sampler needs neither.
    if not (find_nvcc(environment) and shutil.which("c++", path=environment.get("PATH"))):
        variables["VLLM_USE_FLASHINFER_SAMPLER"] = environment.get("VLLM_USE_FLASHINFER_SAMPLER", "0")
    library_path = _library_path(Path(sys.prefix) if prefix is None else prefix)
    if library_path is not None:
        variables["LD_LIBRARY_PATH"] = with_folder(library_path, environment.get("LD_LIBRARY_PATH", ""))
    return variables


def with_folder(folder: str, search_path: str) -> str:
    """A search path with this folder in front, once."""
    return os.pathsep.join([folder, *(part for part in search_path.split(os.pathsep) if part and part != folder)])


def _library_path(prefix: Path) -> str | None:
    try:
        stamp = json.loads((prefix / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    path = stamp.get("library_path")
    return path if isinstance(path, str) and Path(path).is_dir() else None
