"""Making `env/`: a virtual environment with pip, also where this Python comes without ensurepip (as Debian's does).

Standard library only.  The ways are tried in this order, each with what is already on the machine:
ensurepip; any pip, which can install itself into another environment; uv; apt-get as root, which brings ensurepip.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Report = Callable[[str], None]

DEBIAN_PACKAGE = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
"""Brings ensurepip to Debian's and Ubuntu's Python of this version."""

ENSUREPIP = "this Python's ensurepip"
"""The usual way: an environment is made without a network, and nothing is reported."""


class CannotMakeError(RuntimeError):
    """`env/` cannot be made here.  The text says what is missing and how to get it."""


@dataclass(frozen=True)
class Way:
    """A way to make an environment with pip: where pip comes from, and the commands to run in turn."""

    pip_source: str
    commands: tuple[tuple[str, ...], ...]


def python_of(env: Path) -> Path:
    """The Python of an environment."""
    return env / "bin" / "python"


def is_usable(env: Path) -> bool:
    """Whether an environment's Python runs and has pip; a half-made one, or one whose Python was removed, does not."""
    if not python_of(env).is_file():
        return False
    done = subprocess.run([python_of(env), "-m", "pip", "--version"], capture_output=True, check=False)
    return done.returncode == 0


@contextlib.contextmanager
def held(env: Path, report: Report) -> Iterator[None]:
    """Keep an environment to this process: two that installed at once (at power-on and by hand) would break each other's work.

    Waits for another; the kernel releases what a killed one held.  Where nothing may be written nothing is held either.
    """
    try:
        file = env.with_name(f"{env.name}.lock").open("w")
    except OSError:
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"Another installation into {env.name}/ is under way; waiting for its end.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make(env: Path, report: Report) -> None:
    """Make the environment with the Python that runs this; replaces one that is there.

    Raises:
        CannotMakeError: no way is open on this machine, or none succeeded.
    """
    failures: list[str] = []
    for way in ways(env):
        if failures or way.pip_source != ENSUREPIP:
            report(f"pip comes from {way.pip_source}.")
        if env.exists():
            shutil.rmtree(env)
        reason = _first_failure(way.commands)
        if reason is None and is_usable(env):
            return
        failures.append(f"{way.pip_source}: {reason or 'pip does not run'}")
        report(f"That failed: {failures[-1]}")
    raise CannotMakeError(
        f"{sys.executable} has no pip to give to {env}. On Debian and Ubuntu: sudo apt-get install {DEBIAN_PACKAGE}; "
        "elsewhere install uv (https://docs.astral.sh/uv/); then call this again."
        + "".join(f"\nTried {failure}" for failure in failures)
    )


def ways(env: Path) -> Iterator[Way]:
    """The ways that are open on this machine, the preferred one first."""
    python, venv = sys.executable, (sys.executable, "-m", "venv")
    if importlib.util.find_spec("ensurepip") is not None:
        yield Way(ENSUREPIP, ((*venv, str(env)),))
    if (pip := find_pip()) is not None:
        install = (*pip, "--python", str(python_of(env)), "install", "--quiet", "pip")
        yield Way(f"the package index, by {' '.join(pip)}", ((*venv, "--without-pip", str(env)), install))
    if (uv := shutil.which("uv")) is not None:
        # Not `--seed`, which for Python 3.11 also wants wheel and setuptools.
        make = (uv, "venv", "--quiet", "--python", python, str(env))
        install = (uv, "pip", "install", "--quiet", "--python", str(python_of(env)), "pip")
        yield Way(f"the package index, by {uv}", (make, install))
    apt = shutil.which("apt-get")
    # The package is for the system's Python alone.
    if apt is not None and os.geteuid() == 0 and sys.base_prefix == "/usr":
        yield Way(f"{DEBIAN_PACKAGE}, by apt-get", (_apt_install(apt, DEBIAN_PACKAGE), (*venv, str(env))))


def find_pip() -> tuple[str, ...] | None:
    """The command of a pip: this Python's, else one of another Python on the PATH."""
    if importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    program = shutil.which("pip") or shutil.which("pip3")
    return (program,) if program else None


def _apt_install(apt: str, package: str) -> tuple[str, ...]:
    # One broken package source makes `update` fail, and need not concern this package.
    script = '"$0" update -q; DEBIAN_FRONTEND=noninteractive "$0" install -y -q "$1"'
    return ("sh", "-c", script, apt, package)


def _first_failure(commands: tuple[tuple[str, ...], ...]) -> str | None:
    """Run commands until one fails; returns the last line of its output, None if all succeeded."""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            return lines[-1] if lines else f"{command[0]} failed with status {done.returncode}"
    return None
