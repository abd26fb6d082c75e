"""A machine with GPUs, pretended: the launcher and everything that it starts believe that they run on it.

Real: the launcher, its plan, supervision, the services with their checks, their ports, the worker's rounds, the engine.
Pretended: `nvidia-smi`; the metadata of the installed vLLM; what torch counts where the worker asks for the card of its
plan (`tests.launcher.pod_standins`).  All arithmetic is done by the CPU, which no setting of the project's asks for:
`VLLM_TARGET_DEVICE` is vLLM's own, and torch finds no card by itself.
Not here: the installer, which would fetch the packages for CUDA; so the launcher is started as `master_script.sh` does
after it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.launcher.no_network import NetworkNamespace
from tests.launcher.operated_cluster import ROOT, START_SECONDS, OperatedCluster
from wmkml.config.arguments import add_settings_arguments
from wmkml.launcher.cluster_record import is_locked
from wmkml.launcher.launch import plan_of
from wmkml.launcher.machine import detect_machine, resolve_settings
from wmkml.launcher.plan import Plan
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.system.orphans import end_marked_processes

NVIDIA_SMI = """#!/bin/sh
# A stand-in for NVIDIA's tool on a machine with {cards} A100s: the fields that are asked for, a line for each card.
# It fails over a card that has fallen off the bus, but where another one is asked for by its index.
indices=$(seq 0 {last}) before=
for word; do
    case $word in --query-gpu=*) fields=$(echo "${{word#*=}}" | tr , ' ') ;; esac
    [ "$before" != -i ] || indices=$word
    before=$word
done
[ -n "$fields" ] || {{ echo "Driver Version: 580.95.05    CUDA Version: 13.0"; exit; }}
for index in $indices; do
    [ "$index" -le {last} ] || {{ echo "No devices were found"; exit 6; }}
    [ ! -e "{machine}/lost-$index" ] || {{
        echo "Unable to determine the device handle for GPU000$index:3B:00.0: GPU is lost.  Reboot the system to recover this GPU"
        exit 15
    }}
done
for index in $indices; do
    line=
    for field in $fields; do
        case $field in
            index) value=$index ;;
            uuid) value=GPU-$index-d72c-4106 ;;
            name) value="NVIDIA A100-SXM4-80GB" ;;
            memory.total) value=81920 ;;
            memory.free) value=81000 ;;
            memory.used) value=920 ;;
            utilization.gpu) value=0 ;;
            driver_version) value=580.95.05 ;;
            compute_cap) value=8.0 ;;
            *) echo "Field \\"$field\\" is not a valid field to query."; exit 2 ;;
        esac
        line="$line${{line:+, }}$value"
    done
    echo "$line"
done
"""

VLLM_METADATA = "Metadata-Version: 2.4\nName: vllm\nVersion: 0.32.0\n"
"""Of the distribution that holds vLLM's build for CUDA."""

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
"""A pod has none, and no window opens."""


class PretendedPod(OperatedCluster):
    """An installation on a machine with so many A100s.

    `transformers_for_vllm`: the engine starts in seconds, and is one; else it is vLLM, with a core for each of its cards.
    `general`: more settings of that section, in YAML; `variables`: more of the operator's shell.
    """

    def __init__(
        self,
        folder: Path,
        cards: int,
        *,
        transformers_for_vllm: bool,
        general: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        # The panel is asked in the cluster of tests/launcher/test_cluster_services.py; here it would keep the cores from all else.
        super().__init__(folder, NetworkNamespace(), general, ", panel_answers: 0")
        self.cards, self.transformers_for_vllm = cards, transformers_for_vllm
        machine = folder / "machine"
        metadata = machine / "vllm-0.32.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(VLLM_METADATA)
        (machine / "sitecustomize.py").write_text(
            "from tests.launcher.pod_standins import install\n\n"
            f"install(transformers_for_vllm={transformers_for_vllm}, machine={str(machine)!r})\n"
        )
        tool = machine / "nvidia-smi"
        tool.write_text(NVIDIA_SMI.format(cards=cards, last=cards - 1, machine=machine))
        tool.chmod(0o755)
        self._machine = machine
        shell = {name: value for name, value in os.environ.items() if name not in DISPLAYS}
        self.environment = shell | {
            "PATH": f"{machine}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{machine}",
            "VLLM_TARGET_DEVICE": "cpu",
            **(variables or {}),
        }
        """Of the shell in which the operator starts the launcher."""

    def command(self, what: str) -> list[str]:
        """The launcher's own command for `start` or `stop`."""
        return [sys.executable, "-m", "wmkml.launcher", what, "--config", str(self.config)]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the launcher."""
        return subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def start(self) -> str:
        """Start the cluster; returns what the operator read when everything was healthy.

        Raises:
            AssertionError: it did not start, or a program ended at once, which supervision would try again for ever.
        """
        output = ""
        with subprocess.Popen(
            self.command("start"), cwd=ROOT, env=self.environment, stdout=-1, stderr=-2, text=True
        ) as starting:
            assert starting.stdout is not None
            for line in starting.stdout:
                output += line
                if "ended at once" in line:
                    starting.kill()
                    raise AssertionError(output + self.last_lines())
        assert starting.returncode == 0, output + self.last_lines()
        return output

    def lose_card(self, index: int, door: str) -> None:
        """Have a card fall off the bus: the tool says so, and the process that computes on it dies, as by a CUDA error."""
        (self._machine / f"lost-{index}").touch()
        psutil.Process(self.doors()[door]).kill()

    def bring_card_back(self, index: int) -> None:
        """The card answers again, as after a reset."""
        (self._machine / f"lost-{index}").unlink()

    def last_lines(self) -> str:
        """The ends of all logs, for a test that fails."""
        return "".join(f"\n{log.name}: {log.read_text()[-600:]}" for log in (self.data / "logs").glob("*.log"))

    def plan(self) -> Plan:
        """The launcher's plan on this machine."""
        parser = argparse.ArgumentParser()
        add_settings_arguments(parser)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", self.environment["PATH"])
            machine = detect_machine(self.environment)
        return plan_of(resolve_settings(parser.parse_args(["--config", str(self.config)]), machine), machine)

    def environments(self) -> dict[str, dict[str, str]]:
        """Of each door script: the environment that its process was started with, without supervisord's own variables."""
        environments = {}
        for door, pid in self.doors().items():
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                environments[door] = {
                    name: value
                    for name, value in psutil.Process(pid).environ().items()
                    if not name.startswith("SUPERVISOR_")
                }
        return environments

    def inherited(self) -> dict[str, str]:
        """What a program has of the shell and of the supervision."""
        mark = cluster_mark(self.data)
        python_path = f"{ROOT}{os.pathsep}{self.environment['PYTHONPATH']}"
        return self.environment | {"PYTHONPATH": python_path, mark.variable: mark.value}

    def vllm_cores(self) -> int:
        """The processes in which vLLM computes."""
        count = 0
        for child in psutil.Process(self.doors()["inference_owner.py"]).children(recursive=True):
            with suppress(
                psutil.NoSuchProcess
            ):  # it has ended: psutil's name for one that nobody waited for is derived from this
                count += "".join(child.cmdline()[:1]).startswith("VLLM::EngineCore")
        return count


@contextmanager
def started_pod(
    folder: Path,
    cards: int,
    *,
    transformers_for_vllm: bool,
    general: str = "",
    variables: Mapping[str, str] | None = None,
) -> Iterator[PretendedPod]:
    """A pod whose installation runs, as `PretendedPod` describes it; nothing of it is left at the end."""
    pod = PretendedPod(folder, cards, transformers_for_vllm=transformers_for_vllm, general=general, variables=variables)
    try:
        pod.start()
        yield pod
    finally:
        if is_locked(pod.data):  # else the test has ended everything
            pod.call("stop")
        end_marked_processes(cluster_mark(pod.data))
