"""How CPU threads are shared between engine and worker, in the plan and in the services."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.config import Settings
from wmkml.config.cpu_threads import engine_threads, worker_threads
from wmkml.system.cores import usable_cores

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("engine", "worker", "cores", "gpu", "threads"),
    [
        (0, 0, 1, False, (1, 1)),
        (0, 0, 2, False, (1, 1)),
        (0, 0, 4, False, (3, 1)),
        (0, 0, 16, False, (8, 8)),
        (0, 3, 8, False, (5, 3)),
        (6, 3, 8, False, (6, 3)),
        (0, 0, 2, True, (1, 1)),
        (0, 0, 16, True, (4, 4)),
        (0, 0, 128, True, (8, 8)),
        (2, 3, 16, True, (2, 3)),
    ],
)
def test_what_is_configured_wins_and_the_rest_is_shared(
    engine: int, worker: int, cores: int, gpu: bool, threads: tuple[int, int]
) -> None:
    settings = Settings.model_validate({"inference": {"cpu_threads": engine}, "finetuning": {"worker_threads": worker}})
    assert (engine_threads(settings, cores, gpu=gpu), worker_threads(settings, cores, gpu=gpu)) == threads


@pytest.mark.parametrize(("cores", "replicas", "threads"), [(128, 2, 8), (128, 7, 4), (32, 7, 1), (4, 7, 1)])
def test_the_engines_replicas_share_their_threads(cores: int, replicas: int, threads: int) -> None:
    assert engine_threads(Settings(), cores, gpu=True, replicas=replicas) == threads


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux confines a process to cores")
def test_cores_that_a_process_may_not_use_are_not_counted() -> None:
    core = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{core}}}); from wmkml.system.cores import usable_cores; print(usable_cores())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    # By affinity alone: a quota of the machine that runs the tests may make it fewer.
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
