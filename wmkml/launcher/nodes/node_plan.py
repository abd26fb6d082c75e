"""The plan of a node: one process, the engine, on every GPU of the machine.  Nothing trains there."""

from __future__ import annotations

from dataclasses import replace

from wmkml.config import Settings
from wmkml.config.cpu_threads import engine_threads
from wmkml.config.paths import Paths
from wmkml.config.planned import READY_TIMEOUT, PlannedEngine
from wmkml.launcher.machine import Machine
from wmkml.launcher.memory.devices import memory_of_gpu, memory_of_machine
from wmkml.launcher.memory.model import Shape
from wmkml.launcher.placement import decide_engine
from wmkml.launcher.plan import (
    Plan,
    Process,
    cache_variables,
    copies_of,
    process_environment,
    ready_timeout_seconds,
    tensor_parallel_problems,
    too_small_sentence,
)


def make_node_plan(settings: Settings, machine: Machine, paths: Paths, shape: Shape) -> Plan:
    """Decide what runs on a node; arguments as of `wmkml.launcher.plan.make_plan`."""
    configured, gpus = settings, _serving(settings, machine)
    if gpus:
        settings = decide_engine(settings, shape, tuple(machine.gpus[index] for index in gpus), shared=False)
        devices = tuple(
            memory_of_gpu(gpu, settings, shape, serves=place in gpus, trains=False)
            for place, gpu in enumerate(machine.gpus)
        )
        threads = engine_threads(settings, machine.cores, gpu=True, replicas=len(gpus))
    else:
        device = memory_of_machine(settings, shape, machine.memory_gib)
        held = tuple(holding for holding in device.holdings if holding.process == "inference")
        devices = (replace(device, holdings=held),)
        # No worker computes beside it.
        threads = settings.inference.cpu_threads or machine.cores
        settings = settings.model_copy(
            update={"inference": settings.inference.model_copy(update={"cpu_threads": threads})}
        )
    indices = tuple(machine.gpus[place].index for place in gpus)
    of_gpus = {**machine.gpu_environment, **cache_variables(paths.caches)}
    environment = process_environment(indices, threads, of_gpus) | {READY_TIMEOUT: str(ready_timeout_seconds(shape))}
    planned = PlannedEngine(copies_of(settings, indices))
    idle = len(machine.gpus) - len(gpus)
    notices = [f"{idle} of {len(machine.gpus)} GPUs of this node are not used."] if idle else []
    too_small = [too_small_sentence(device, configured) for device in devices if not device.fits]
    if shape.estimated:
        notices += [f"It may not fit, by an estimate: {sentence}" for sentence in too_small]
        too_small = []
    return Plan(
        settings=settings,
        configured=configured,
        machine=machine,
        paths=paths,
        shape=shape,
        processes=(Process("node", "inference_owner.py", indices, threads, {**environment, **planned.variables()}),),
        devices=devices,
        refusals=(*tensor_parallel_problems(settings, machine, shape), *too_small),
        notices=tuple(notices),
    )


def _serving(settings: Settings, machine: Machine) -> tuple[int, ...]:
    """The places of the GPUs that serve: as many as whole copies of the model take."""
    if not machine.gpus or settings.inference.engine != "vllm":
        return (0,) if machine.gpus else ()
    together = settings.inference.tensor_parallel_size
    return tuple(range(len(machine.gpus) // together * together or len(machine.gpus)))
