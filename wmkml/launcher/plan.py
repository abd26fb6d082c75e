"""What runs where: a pure function of the settings and the machine, printed by `--plan` and followed by the launcher.

The worker takes the last GPU (or several, `finetuning.devices`), and the engine the others, by vLLM's data parallelism.
They share a single GPU, or the CPU if there is none.  Number formats and batches are chosen so that every device can hold
what is on it (`wmkml.launcher.placement`); where that is impossible the plan says so, and nothing is started.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wmkml.config import UNDERSTUDY, Settings
from wmkml.config.cpu_threads import engine_threads, worker_threads
from wmkml.config.paths import Paths
from wmkml.config.planned import ALL_GPUS, READY_TIMEOUT, PlannedEngine, PlannedTraining
from wmkml.launcher.machine import Machine
from wmkml.launcher.memory.devices import Device
from wmkml.launcher.memory.model import Shape
from wmkml.launcher.placement import Placement, place

START_SECONDS = 600
"""How long vLLM may take to start without reading weights: importing, compiling, capturing CUDA graphs.  Its own default."""

SLOWEST_READING_GIB_S = 0.02
"""GiB a second that a slow network volume still reads; vLLM's time to start grows with the weights by this."""


@dataclass(frozen=True)
class Process:
    """One process of the cluster: its door script, the GPUs it sees, its CPU threads (0: its own choice), its environment."""

    name: str
    door: str
    gpus: tuple[int, ...] = ()
    threads: int = 0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What will be started, and with what.

    Attributes:
        settings: as they will be used.
        configured: as they were before the plan decided anything; for another plan when more is known of the model.
        refusals: a sentence for each device that cannot hold what is on it, and for other settings that cannot work; with
            any of them nothing is started.
        notices: sentences for the operator.
    """

    settings: Settings
    configured: Settings
    machine: Machine
    paths: Paths
    shape: Shape
    processes: tuple[Process, ...]
    devices: tuple[Device, ...]
    refusals: tuple[str, ...]
    notices: tuple[str, ...]


def make_plan(settings: Settings, machine: Machine, paths: Paths, shape: Shape) -> Plan:
    """Decide what runs where.

    Args:
        settings: with the engine chosen (see `machine.resolve_settings`).
        machine: detected or pretended.
        paths: absolute folders.
        shape: of the model.
    """
    configured, placement = settings, place(settings, machine, shape)
    settings, engine_gpus, worker_gpus = placement.settings, placement.engine_gpus, placement.worker_gpus
    notices = [*_gpu_notices(configured, machine, placement), *settings.notices()]
    gpu = bool(machine.gpus)
    threads_of_engine = engine_threads(settings, machine.cores, gpu=gpu, replicas=max(1, len(engine_gpus)))
    threads_of_worker = worker_threads(settings, machine.cores, gpu=gpu)

    opens_gui = not settings.osc_targets and machine.display
    if settings.osc_targets:
        notices.append("An OSC host is configured: the small window (gui.py) is not opened.")
    elif not machine.display:
        notices.append("No OSC host and no display (or a Python without Tk): the small window (gui.py) is not opened.")
    for_engine = PlannedEngine(copies_of(settings, engine_gpus), placement.kv_cache_bytes)
    # On a GPU that is only pretended the worker may train on the CPU.
    insisted = () if machine.gpus_pretended else worker_gpus
    for_worker = PlannedTraining(insisted, placement.worker_share)
    of_gpus = {**machine.gpu_environment, **cache_variables(paths.caches)}
    # The owner sees no GPU, and the doctor that its desk asks for must see all that the plan has.
    for_owner = {ALL_GPUS: ",".join(str(gpu.index) for gpu in machine.gpus)} if machine.gpus else {}
    processes = [
        Process("owner", "owner.py", environment={**process_environment((), 0), **for_owner}),
        Process(
            "inference",
            "inference_owner.py",
            engine_gpus,
            threads_of_engine,
            {
                **process_environment(engine_gpus, threads_of_engine, of_gpus),
                READY_TIMEOUT: str(ready_timeout_seconds(shape)),
                **for_engine.variables(),
            },
        ),
        Process(
            "worker",
            "finetune_worker.py",
            worker_gpus,
            threads_of_worker,
            {**process_environment(worker_gpus, threads_of_worker, of_gpus), **for_worker.variables()},
        ),
    ]
    if opens_gui:
        processes.append(Process("gui", "gui.py", environment=process_environment((), 0)))
    read_gib = (
        shape.weights_gib(settings.finetuning.precision)
        if settings.finetuning.parallel == "fsdp" and machine.gpus
        else 0.0
    )
    if machine.memory_gib < read_gib:
        notices.append(
            f"Training with finetuning.parallel: fsdp first reads the model into the machine's memory: {read_gib:.0f} GiB, of "
            f"which there are {machine.memory_gib:.0f}."
        )
    too_small = [too_small_sentence(device, configured) for device in placement.devices if not device.fits]
    impossible = tensor_parallel_problems(settings, machine, shape)
    if shape.estimated:
        notices += [f"It may not fit, by an estimate: {sentence}" for sentence in too_small]
        too_small = []
    return Plan(
        settings=settings,
        configured=configured,
        machine=machine,
        paths=paths,
        shape=shape,
        processes=tuple(processes),
        devices=placement.devices,
        refusals=(*impossible, *too_small),
        notices=tuple(notices),
    )


def copies_of(settings: Settings, engine_gpus: tuple[int, ...]) -> int:
    """How many copies of the model serve on these GPUs (none: on the CPU)."""
    together = settings.inference.tensor_parallel_size if settings.inference.engine == "vllm" else 1
    return max(1, len(engine_gpus) // together)


def tensor_parallel_problems(settings: Settings, machine: Machine, shape: Shape) -> list[str]:
    """Why the GPUs cannot hold a copy of the model together."""
    together = settings.inference.tensor_parallel_size
    if together == 1 or settings.inference.engine != "vllm":
        return []
    key = f"inference.tensor_parallel_size: {together}"
    if len(machine.gpus) < together:
        here = f"there {'is' if len(machine.gpus) == 1 else 'are'} {len(machine.gpus) or 'none'}"
        return [f"{key} needs as many GPUs, and {here} here. Give a smaller number, or take more GPUs."]
    if shape.heads % together:
        return [f"{key} does not divide the model's {shape.heads} attention heads; give a number that does."]
    return []


def ready_timeout_seconds(shape: Shape) -> int:
    """How long vLLM may take to start with this model from a slow volume, in whole minutes but as seconds."""
    seconds = START_SECONDS + shape.weights_gib("bfloat16") / SLOWEST_READING_GIB_S
    return 60 * math.ceil(seconds / 60)


def cache_variables(folder: Path) -> dict[str, str]:
    """The environment variables that keep what is compiled for GPUs in this folder: a container's home is often not kept."""
    return {
        "VLLM_CACHE_ROOT": str(folder / "vllm"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        # FlashInfer adds .cache/flashinfer.
        "FLASHINFER_WORKSPACE_BASE": str(folder / "flashinfer"),
        "CUDA_CACHE_PATH": str(folder / "cuda"),
    }


def too_small_sentence(device: Device, settings: Settings) -> str:
    """A sentence on a device that cannot hold what is on it: the numbers, and what to change."""
    processes = dict.fromkeys(holding.process for holding in device.holdings)
    sums = []
    for process in processes:
        held = [holding for holding in device.holdings if holding.process == process]
        parts = ", ".join(f"{holding.part} {holding.gib:.1f}" for holding in held)
        sums.append(f"{process} {sum(holding.gib for holding in held):.1f} ({parts})")
    inference, tuning = settings.inference, settings.finetuning
    changes = ["a smaller model (general.model_name)"]
    if device.name.startswith("GPU"):
        changes.insert(0, "a larger GPU" if len(processes) == 1 else "a larger GPU or a second one")
        if "inference" in processes and inference.engine != "vllm":
            changes.append("vLLM, which can hold the weights in fp8 (inference.engine)")
        elif "inference" in processes and inference.quantization == "none":
            changes.append("weights in fp8 (inference.quantization: auto)")
        if "worker" in processes and tuning.precision not in ("auto", "nf4"):
            changes.append("training in nf4 (finetuning.precision: auto)")
    else:
        changes.append("a smaller cache (inference.kv_cache_gib)")
    changes.append("shorter samples (finetuning.max_length)")
    return (
        f"{device.name}: {device.expected_gib:.1f} GiB are needed, and {device.usable_gib:.1f} of its {device.gib:.1f} "
        f"can be used: {'; '.join(sums)}. Take {', or '.join(changes)}."
    )


def _gpu_notices(settings: Settings, machine: Machine, placement: Placement) -> list[str]:
    wished, available = settings.general.available_gpus, len(machine.gpus)
    notices = []
    if available == 0 and settings.general.model_name != UNDERSTUDY:
        notices.append(f"There is no GPU, and {settings.general.model_name} was asked for: it runs on the CPU, slowly.")
    if available and wished != available:
        notices.append(f"general.available_gpus wishes for {wished}; found: {available}.")
    training = len(placement.worker_gpus)
    if available and training < settings.finetuning.devices:
        notices.append(
            f"finetuning.devices wishes for {settings.finetuning.devices}; {training} of {available} GPUs "
            f"{'trains' if training == 1 else 'train'}, beside one copy of the model that serves."
        )
    if available > 1 + training and settings.inference.engine == "transformers":
        notices.append("The transformers engine uses one GPU; more of them serve with vLLM alone.")
    together = settings.inference.tensor_parallel_size
    if together > 1 and settings.inference.engine != "vllm":
        notices.append("inference.tensor_parallel_size is for vLLM, and not used here.")
    idle = available - len({*placement.engine_gpus, *placement.worker_gpus})
    if idle and settings.inference.engine == "vllm" and available > together:
        trains = "the last one trains" if training == 1 else f"the last {training} train"
        notices.append(
            f"{idle} of {available} GPUs {'is' if idle == 1 else 'are'} not used: inference.tensor_parallel_size takes "
            f"{together} for each copy of the model, and {trains}. With finetuning.devices: {training + idle} "
            f"{'it trains' if idle == 1 else 'they train'} too."
        )
    quantization = settings.inference.quantization
    if quantization not in ("auto", "none") and not (available and settings.inference.engine == "vllm"):
        notices.append(f"inference.quantization: {quantization} is for vLLM on a GPU, and not used here.")
    return notices


def process_environment(
    gpus: tuple[int, ...], threads: int, of_gpus: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a process: the GPUs that it sees, its threads, and what GPUs need on this machine."""
    # nvidia-smi numbers GPUs by bus, CUDA by speed: without this order they disagree on a machine with unlike GPUs.
    environment = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return {**environment, **(of_gpus or {})} if gpus else environment
