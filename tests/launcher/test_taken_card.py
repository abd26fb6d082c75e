"""A card of whose memory something else holds a part: what is free is compared with what is planned, and with what is free now."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tests.launcher.plans import MISTRAL, machine, plan_for
from wmkml.config import UNDERSTUDY
from wmkml.launcher import launch as launching
from wmkml.launcher import preflight
from wmkml.launcher.launch import CannotStartError, launch
from wmkml.launcher.machine import Machine
from wmkml.launcher.plan import Plan
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.system.gpus import visible_gpus


def plan_with_free(free_gib: float, model: str = MISTRAL, gib: float = 80.0) -> Plan:
    """A plan for one card of which so much is free."""
    whole = machine(1, gib, pretended=False)
    return plan_for(replace(whole, gpus=tuple(replace(gpu, free_gib=free_gib) for gpu in whole.gpus)), model)


def taken(plan: Plan) -> list[str]:
    return [problem for problem in preflight.problems(plan) if "GPU 0" in problem]


def test_a_card_with_less_free_than_is_planned_is_refused_with_both_numbers() -> None:
    [device] = plan_with_free(80).devices
    needed = device.least_free_gib
    assert 0.9 * device.expected_gib < needed < device.expected_gib
    assert needed > 50, "else half of the card would do"
    assert taken(plan_with_free(needed + 0.1)) == []
    [problem] = taken(plan_with_free(needed - 0.1))
    assert f"{needed - 0.1:.1f} of 80.0 GiB are free, and {needed:.1f} are needed" in problem


def test_what_needs_little_of_a_card_starts_beside_others() -> None:
    plan = plan_for(
        replace(
            machine(1, 80, pretended=False),
            gpus=tuple(replace(gpu, free_gib=20.0) for gpu in machine(1, 80).gpus),
        ),
        UNDERSTUDY,
        "transformers",
    )
    assert plan.devices[0].expected_gib < 20
    assert taken(plan) == []


NVIDIA_SMI = """#!/bin/sh
# A stand-in for NVIDIA's tool: one A100, whose free memory stands in a file, in MiB.
for word; do case $word in --query-gpu=*) fields=$(echo "${word#*=}" | tr , ' ') ;; esac; done
line=
for field in $fields; do
    case $field in
        index) value=0 ;;
        name) value="NVIDIA A100-SXM4-80GB" ;;
        memory.total) value=81920 ;;
        memory.free) value=$(cat "$(dirname "$0")/free") ;;
        driver_version) value=580.95.05 ;;
        *) value=0 ;;
    esac
    line="$line${line:+, }$value"
done
echo "$line"
"""


@pytest.mark.process
def test_what_an_earlier_cluster_held_is_free_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its launcher was killed, and its programs end while the next one is started."""
    tool = tmp_path / "machine" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(NVIDIA_SMI)
    tool.chmod(0o755)
    free = tool.with_name("free")
    free.write_text("1000")
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    # The handlers of signals are the test run's own.
    monkeypatch.setattr(launching, "_stop_on_signals", lambda: nullcontext(threading.Event()))
    here = Machine(visible_gpus(), 8, 256.0, display=False, vllm=True)
    general: dict[str, object] = {"data_folder": str(tmp_path / "data"), "owner_port": 0, "inference_port": 0}
    plan = plan_for(here, UNDERSTUDY, "transformers", tmp_path, general=general)
    assert taken(plan), "as it was when the plan was made"
    mark = cluster_mark(plan.paths.data)
    left_over = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env=os.environ | {mark.variable: mark.value}
    )

    def end_it() -> None:
        free.write_text("81000")
        left_over.kill()
        left_over.wait()

    ending = threading.Timer(2.0, end_it)
    ending.start()

    def reached(_: Path) -> None:
        raise CannotStartError("no further")

    try:
        with pytest.raises(CannotStartError, match="no further"):
            launch(plan, check_model=reached)
        free.write_text("1000")
        with pytest.raises(CannotStartError, match=r"GPU 0 .* 1\.0 of 80\.0 GiB are free"):
            launch(plan, check_model=reached)
    finally:
        ending.join()
