"""Whether the torch that was installed reaches every GPU that nvidia-smi lists.  Standard library only.

A torch that cannot use the driver is silent: it falls back to the CPU, on which a 7B model trains for hours.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from wmkml.system.gpu_environment import with_folder

PROBE = """
import json
import torch
count, problem = 0, None
try:
    # Before this, torch.cuda.device_count() asks the driver's library as nvidia-smi does, and proves nothing.
    torch.cuda.init()
    for index in range(torch.cuda.device_count()):
        assert torch.ones(8, device=f"cuda:{index}").sum().item() == 8
        count += 1
except Exception as error:
    problem = str(error).strip().partition("\\n")[0] or type(error).__name__
print(json.dumps({"count": count, "problem": problem}))
"""
"""Counts the GPUs on which torch has computed."""


class GpusNotReachedError(RuntimeError):
    """torch reaches fewer or more GPUs than nvidia-smi lists.  The text says what both counted, and what to do."""


def count_gpus(python: Path, library_path: Path | None) -> tuple[int, str | None]:
    """On how many GPUs torch computes, and what it said when it failed.

    Args:
        python: of the environment with torch.
        library_path: a folder of libraries to load before the driver's.
    """
    environment = dict(os.environ)
    if library_path is not None:
        environment["LD_LIBRARY_PATH"] = with_folder(str(library_path), environment.get("LD_LIBRARY_PATH", ""))
    done = subprocess.run(
        [python, "-c", PROBE], env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
        count, problem = int(answer["count"]), answer["problem"]
    except (ValueError, KeyError, TypeError, IndexError):
        count, problem = 0, (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
    return count, problem


def check_gpus(python: Path, expected: int, library_path: Path | None) -> None:
    """Compute something on every GPU, and compare their number.

    Args:
        python: of the new environment.
        expected: what nvidia-smi counts, of which CUDA_VISIBLE_DEVICES may have left less.
        library_path: a folder of libraries to load before the driver's.

    Raises:
        GpusNotReachedError: the numbers differ, or torch ends without an answer.
    """
    count, problem = count_gpus(python, library_path)
    if count == expected:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    raise GpusNotReachedError(
        f"nvidia-smi counts {expected} GPU{'s' if expected != 1 else ''} for use, and torch computes on {count}"
        f"{f' ({problem})' if problem else ''}. What to look at: the driver (nvidia-smi names its version; does it run "
        f"there at all?); CUDA_VISIBLE_DEVICES ({'is not set' if visible is None else f'is {visible!r}'}); a container that was "
        "started without --gpus all, or without some of /dev/nvidia*. Then call this again: the packages are kept."
    )
