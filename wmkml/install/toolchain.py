"""What a machine with GPUs needs beside Python packages: a C compiler and Python's headers, and perhaps CUDA's compatibility.

Triton, which vLLM and torch compile their kernels with, builds a small C module at every machine's first start; slim images
have neither a compiler nor Python.h.  Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from wmkml.install.driver import COMPATIBILITY_FOLDER, COMPATIBILITY_PACKAGE


class ToolMissingError(RuntimeError):
    """A program or file that no Python package brings is missing.  The text has the command that installs it."""


def missing_packages(
    environment: Mapping[str, str], include: Path, *, compatibility: bool, library_path: Path = COMPATIBILITY_FOLDER
) -> dict[str, str]:
    """What is missing, as sentences, by the Debian package that brings it.

    Args:
        environment: CC and PATH say where a compiler is.
        include: Python's folder of headers.
        compatibility: whether CUDA's forward-compatibility package is needed, in `library_path`.
    """
    missing = {}
    compilers = (environment.get("CC"), "gcc", "clang", "cc")
    if not any(shutil.which(name, path=environment.get("PATH")) for name in compilers if name):
        missing["gcc"] = "there is no C compiler, which Triton needs"
    if not (include / "Python.h").is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        missing[f"libpython{version}-dev"] = f"{include} has no Python.h, which Triton needs"
    if compatibility and not list(library_path.glob("libcuda.so*")):
        missing[COMPATIBILITY_PACKAGE] = f"{library_path} has no libcuda.so, which stands in for a newer driver"
    return missing


def packages_missing_here(*, compatibility: bool) -> dict[str, str]:
    """`missing_packages()` of this machine and the Python that runs this."""
    return missing_packages(os.environ, Path(sysconfig.get_paths()["include"]), compatibility=compatibility)


def advice(packages: Mapping[str, str]) -> str:
    """The one command that installs the packages, with what must be known of them."""
    command = f"sudo apt-get update && sudo apt-get install {' '.join(packages)}"
    notes = []
    if COMPATIBILITY_PACKAGE in packages:
        notes.append(
            "it is in NVIDIA's package repository: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/"
        )
    if any(name.startswith("libpython") for name in packages) and sys.base_prefix != "/usr":
        notes.append(f"{sys.executable} is not the system's Python: its headers come from where it came from")
    return command + "".join(f" ({note})" for note in notes)


def can_install() -> str | None:
    """The path of apt-get, if this is root and it is there."""
    return shutil.which("apt-get") if os.geteuid() == 0 else None


def install_packages(packages: Mapping[str, str]) -> None:
    """Install Debian packages as root.

    Raises:
        ToolMissingError: this is not root, there is no apt-get, or it fails.
    """
    reasons = "; ".join(packages.values())
    apt = can_install()
    if apt is None:
        raise ToolMissingError(f"Before the packages: {reasons}. As root: {advice(packages)}")
    # One broken package source makes `update` fail, and need not concern these packages.
    script = '"$0" update -q; DEBIAN_FRONTEND=noninteractive "$0" install -y -q "$@"'
    done = subprocess.run(
        ["sh", "-c", script, apt, *packages], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ToolMissingError(
            f"Before the packages: {reasons}. apt-get could not install {', '.join(packages)}: "
            f"{lines[-1] if lines else f'status {done.returncode}'}. By hand: {advice(packages)}"
        )
