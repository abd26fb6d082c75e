"""What a plan needs to know of a machine: GPUs, cores, memory, display, and whether vLLM runs on it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wmkml.config.arguments import ResolvedSettings, resolve_arguments
from wmkml.engine.choice import choose_engine, vllm_runs
from wmkml.system.cores import usable_cores
from wmkml.system.display import has_display
from wmkml.system.gpu_environment import gpu_environment
from wmkml.system.gpus import GPUS_VARIABLE, Gpu, visible_gpus
from wmkml.system.memory import memory_gib


@dataclass(frozen=True)
class Machine:
    """What a plan needs to know of a machine."""

    gpus: tuple[Gpu, ...]
    cores: int
    memory_gib: float
    display: bool
    """Whether the Tk window can open."""
    vllm: bool
    """Whether this Python has a vLLM that runs on this machine."""
    platform: str = "linux"
    """As `sys.platform` names it."""
    gpus_pretended: bool = False
    """Whether `WMKML_GPUS` replaced the detection."""
    gpu_environment: Mapping[str, str] = field(default_factory=dict)
    """What every process with GPUs needs in its environment here."""


def detect_machine(environment: Mapping[str, str] | None = None) -> Machine:
    """Describe this machine.  Imports neither torch nor vLLM.

    Raises:
        GpusUnknownError: `WMKML_GPUS` cannot be read.
    """
    environment = os.environ if environment is None else environment
    gpus = visible_gpus(environment)
    return Machine(
        gpus=gpus,
        cores=usable_cores(),
        memory_gib=memory_gib(),
        display=has_display(environment),
        vllm=vllm_runs(gpus=bool(gpus)),
        platform=sys.platform,
        gpus_pretended=bool(environment.get(GPUS_VARIABLE, "").strip()),
        gpu_environment=gpu_environment(environment) if gpus else {},
    )


def with_memory_of_now(machine: Machine) -> Machine:
    """The machine with what is free on its GPUs now; one that does not answer any more stays as it was."""
    if machine.gpus_pretended:
        return machine
    present = {gpu.index: gpu for gpu in visible_gpus()}
    return replace(machine, gpus=tuple(present.get(gpu.index, gpu) for gpu in machine.gpus))


def resolve_settings(arguments: argparse.Namespace, machine: Machine) -> ResolvedSettings:
    """The settings of a whole cluster on this machine, with the engine chosen.

    Raises:
        ConfigError: a file, a key or a value is wrong, or the configured engine does not run here.
    """
    resolved = resolve_arguments(arguments, gpus=bool(machine.gpus))
    return replace(resolved, settings=choose_engine(resolved.settings, vllm=machine.vllm))
