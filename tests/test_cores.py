"""One rule shares the CPU, in the plan and in the services."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.config import Settings
from wmkml.cores import engine_threads, usable_cores, worker_threads

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("engine", "worker", "cores", "gpu", "threads"),
    [
        (0, 0, 1, False, (1, 1)),
        (0, 0, 2, False, (1, 1)),
        (0, 0, 4, False, (3, 1)),
        (0, 0, 16, False, (8, 8)),
        (0, 3, 8, False, (5, 3)),
        (6, 3, 8, False, (6, 3)),
        (0, 0, 16, True, (0, 0)),
        (2, 3, 16, True, (2, 3)),
    ],
)
def test_what_is_configured_wins_and_the_rest_is_shared(
    engine: int, worker: int, cores: int, gpu: bool, threads: tuple[int, int]
) -> None:
    settings = Settings.model_validate({"inference": {"cpu_threads": engine}, "finetuning": {"worker_threads": worker}})
    assert (engine_threads(settings, cores, gpu=gpu), worker_threads(settings, cores, gpu=gpu)) == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux confines a process to cores")
def test_cores_that_a_process_may_not_use_are_not_counted() -> None:
    one = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, {{{one}}}); from wmkml.cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert usable_cores() == len(os.sched_getaffinity(0))
