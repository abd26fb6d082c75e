"""Machines and installations that are described, not observed: a good one, and what differs from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wmkml.doctor.examination import CHECKS
from wmkml.doctor.facts import DeviceFacts, Facts, InstallationFacts, MachineFacts, PortFacts, ProgramFacts
from wmkml.system.gpus import Gpu

A100 = Gpu(0, "NVIDIA A100-SXM4-80GB", 80.0, 79.0, 1.0, 0.0, (580, 65), (8, 0))
H100 = Gpu(0, "NVIDIA H100 80GB HBM3", 80.0, 79.0, 1.0, 0.0, (580, 65), (9, 0))

GOOD = Facts(
    MachineFacts(gpus=(A100, replace(A100, index=1)), gpu_devices=2, shm_gib=16.0, visible_cores=32, usable_cores=32),
    ProgramFacts(torch_cuda="13.0", gpus_of_torch=2, missing_packages=(), nvcc=True),
    InstallationFacts(
        data_folder="/root/data",
        disk_free_gib=100.0,
        model_name="org/model",
        model_folder="/root/models/org--model",
        model_state="complete",
        model_disk_free_gib=100.0,
        read_mib_s=900.0,
        weights_gib=13.5,
        ready_timeout_s=1320,
        keys="readable",
        keys_path="/root/data/keys.json",
        pin="readable",
        pin_path="/root/data/desk_pin.txt",
        ports=(PortFacts("general.owner_port", "0.0.0.0", 8000, "free"),),
        devices=(DeviceFacts("GPU 0 (A100)", 72.0, 76.0, fits=True),),
        taken_gpus=(),
        engine="vllm",
        engine_gpus=1,
        engine_threads=8,
        worker_threads=8,
    ),
)
"""Two A100s, where everything is well."""

WITHOUT_GPU = Facts(
    MachineFacts(shm_gib=0.0625, visible_cores=2, usable_cores=2),
    ProgramFacts(torch_cuda="", vllm_cuda=""),
    replace(GOOD.installation or InstallationFacts(), engine="transformers", engine_gpus=0, taken_gpus=None),
)
"""A laptop."""

UNKNOWN = Facts(MachineFacts(), ProgramFacts(), None, "config.yaml: finetuning.batch_size: 'x' is not allowed.")
"""Nothing could be found out, and the settings cannot be read."""


def with_machine(facts: Facts = GOOD, **changes: Any) -> Facts:
    return replace(facts, machine=replace(facts.machine, **changes))


def with_programs(facts: Facts = GOOD, **changes: Any) -> Facts:
    return replace(facts, programs=replace(facts.programs, **changes))


def with_installation(facts: Facts = GOOD, **changes: Any) -> Facts:
    assert facts.installation is not None
    return replace(facts, installation=replace(facts.installation, **changes))


def outcomes(name: str, facts: Facts) -> list[str]:
    """The names of the outcomes that a check finds."""
    [check] = [check for check in CHECKS if check.name == name]
    return [result.outcome for result in check.judge(facts)]
