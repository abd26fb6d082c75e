"""What will run where: a pure function of the settings and the machine, printed by `--plan` and followed by the launcher.

The worker takes the last GPU, the engine the others by vLLM's data parallelism; both share one where there is one, and
the CPU where there is none.  Starts nothing, reads no disk; `plan_text.py` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wmkml.cluster.machine import Gpu, Machine
from wmkml.cluster.memory import BYTES, GIB, Shape, training_gib
from wmkml.config import UNDERSTUDY, Settings
from wmkml.cores import engine_threads, worker_threads
from wmkml.places import Places

PROGRAM_GIB = 0.8
"""What a Python with torch takes before it holds a model."""

CUDA_CONTEXT_GIB = 0.6

SPARE_GIB = 4.0
"""What the worker wants of a GPU beside bfloat16 weights; with less it holds them in nf4."""


@dataclass(frozen=True)
class Process:
    """One program of the cluster: its door script, the GPUs it sees, its CPU threads (0: as it likes), its environment."""

    name: str
    door: str
    gpus: tuple[int, ...] = ()
    threads: int = 0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Holding:
    """What one program is expected to hold on one device, in GiB."""

    process: str
    part: str
    gib: float


@dataclass(frozen=True)
class Device:
    """A GPU, or the machine's memory, and what is expected to lie there."""

    name: str
    gib: float
    holdings: tuple[Holding, ...]

    @property
    def expected_gib(self) -> float:
        """The sum of the holdings."""
        return sum(holding.gib for holding in self.holdings)


@dataclass(frozen=True)
class Plan:
    """The settings as they will be used, every process, every device, and what the operator should be told."""

    settings: Settings
    machine: Machine
    places: Places
    shape: Shape
    processes: tuple[Process, ...]
    devices: tuple[Device, ...]
    notices: tuple[str, ...]


def make_plan(settings: Settings, machine: Machine, places: Places, shape: Shape) -> Plan:
    """Decide what runs where.

    Args:
        settings: with the engine already decided (see `arguments.resolve`).
        machine: as detected, or pretended.
        places: absolute folders.
        shape: of the model, counted or estimated.
    """
    notices = [*_gpu_notices(settings, machine), *settings.notices()]
    engine_gpus, worker_gpus = _shares(settings, machine, notices)
    if len(machine.gpus) == 1:
        half = settings.inference.gpu_memory_utilization / 2
        inference = settings.inference.model_copy(update={"gpu_memory_utilization": half})
        settings = settings.model_copy(update={"inference": inference})
    gpu = bool(machine.gpus)
    for_engine = engine_threads(settings, machine.cores, gpu=gpu)
    for_worker = worker_threads(settings, machine.cores, gpu=gpu)

    opens_gui = not settings.osc_targets and machine.display
    if settings.osc_targets:
        notices.append("An OSC host is configured: the small window (gui.py) is not opened.")
    elif not machine.display:
        notices.append("No OSC host and no display (or a Python without Tk): the small window (gui.py) is not opened.")
    processes = [
        Process("owner", "owner.py", environment=_environment((), 0)),
        Process(
            "inference",
            "inference_owner.py",
            engine_gpus,
            for_engine,
            {**_environment(engine_gpus, for_engine), "WMKML_DATA_PARALLEL": str(max(1, len(engine_gpus)))},
        ),
        Process("worker", "finetune_worker.py", worker_gpus, for_worker, _environment(worker_gpus, for_worker)),
    ]
    if opens_gui:
        processes.append(Process("gui", "gui.py", environment=_environment((), 0)))
    devices = _devices(settings, machine, shape, engine_gpus, worker_gpus)
    notices += [
        f"{device.name} has {device.gib:.1f} GiB and {device.expected_gib:.1f} are expected on it: it may not fit."
        for device in devices
        if device.expected_gib > device.gib
    ]
    return Plan(settings, machine, places, shape, tuple(processes), tuple(devices), tuple(notices))


def _gpu_notices(settings: Settings, machine: Machine) -> list[str]:
    wished, there = settings.general.available_gpus, len(machine.gpus)
    told = []
    if there == 0 and settings.general.model_name != UNDERSTUDY:
        told.append(f"There is no GPU, and {settings.general.model_name} was asked for: it runs on the CPU, slowly.")
    if there and wished != there:
        told.append(f"general.available_gpus wishes for {wished}; found: {there}, all of which are used.")
    return told


def _shares(settings: Settings, machine: Machine, notices: list[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The GPUs of the engine and of the worker, by index."""
    indices = tuple(gpu.index for gpu in machine.gpus)
    if len(indices) < 2:
        return indices, indices
    if settings.inference.engine != "vllm" and len(indices) > 2:
        notices.append("The transformers engine uses one GPU; more of them serve with vLLM alone.")
        return indices[:1], indices[-1:]
    return indices[:-1], indices[-1:]


def _environment(gpus: tuple[int, ...], threads: int) -> dict[str, str]:
    # nvidia-smi counts by bus, CUDA by speed: without the order the two disagree on a machine with unlike GPUs.
    found = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if threads:
        found["OMP_NUM_THREADS"] = str(threads)
    return found


def _devices(
    settings: Settings, machine: Machine, shape: Shape, engine_gpus: tuple[int, ...], worker_gpus: tuple[int, ...]
) -> list[Device]:
    if not machine.gpus:
        holdings = [
            Holding("owner", "program", 0.1),
            *_engine_on_cpu(settings, shape),
            Holding("worker", "program", PROGRAM_GIB),
            # Without a GPU the weights are held in float32, whatever is computed in.
            *_worker_parts(settings, shape, "float32"),
        ]
        return [Device("memory (no GPU)", machine.memory_gib, tuple(holdings))]
    return [_on_gpu(settings, shape, gpu, engine_gpus, worker_gpus) for gpu in machine.gpus]


def _engine_on_cpu(settings: Settings, shape: Shape) -> list[Holding]:
    programs = 3 if settings.inference.engine == "vllm" else 1
    return [
        Holding("inference", f"{programs} programs" if programs > 1 else "program", programs * PROGRAM_GIB),
        Holding("inference", "weights", _served_weights(settings, shape)),
        Holding("inference", "adapters of a run", _adapters(settings, shape)),
        Holding("inference", "key-value cache", settings.inference.kv_cache_gib),
    ]


def _on_gpu(
    settings: Settings, shape: Shape, gpu: Gpu, engine_gpus: tuple[int, ...], worker_gpus: tuple[int, ...]
) -> Device:
    holdings: list[Holding] = []
    shared = gpu.index in engine_gpus and gpu.index in worker_gpus
    if gpu.index in engine_gpus:
        share = settings.inference.gpu_memory_utilization * gpu.memory_gib
        weights, adapters = _served_weights(settings, shape), _adapters(settings, shape)
        cache = max(0.0, share - weights - adapters - CUDA_CONTEXT_GIB) if settings.inference.engine == "vllm" else 2.0
        tokens = int(cache * GIB / shape.kv_bytes_a_token)
        holdings += [
            Holding("inference", "CUDA", CUDA_CONTEXT_GIB),
            Holding("inference", "weights", weights),
            Holding("inference", "adapters of a run", adapters),
            Holding("inference", f"key-value cache ({tokens:,} tokens)", cache),
        ]
    if gpu.index in worker_gpus:
        left = gpu.memory_gib * (1 - (settings.inference.gpu_memory_utilization if shared else 0)) - CUDA_CONTEXT_GIB
        holdings += [Holding("worker", "CUDA", CUDA_CONTEXT_GIB), *_worker_on_gpu(settings, shape, left)]
    return Device(f"GPU {gpu.index} ({gpu.name})", gpu.memory_gib, tuple(holdings))


def _worker_on_gpu(settings: Settings, shape: Shape, left_gib: float) -> list[Holding]:
    wanted = settings.finetuning.precision
    if wanted == "auto":
        # The worker's own rule: beside the weights it wants a few GiB at the least, and halves its batches if need be.
        wanted = "bfloat16" if shape.parameters * BYTES["bfloat16"] / GIB + SPARE_GIB <= left_gib else "nf4"
    return _worker_parts(settings, shape, wanted)


def _worker_parts(settings: Settings, shape: Shape, precision: str) -> list[Holding]:
    tuning = settings.finetuning
    lora = shape.lora_parameters(tuning.lora_target_modules, tuning.lora_r)
    parts = training_gib(shape, precision, tuning.micro_batch_tokens, lora)
    return [
        Holding("worker", f"weights ({precision})" if part == "weights" else part, gib) for part, gib in parts.items()
    ]


def _served_weights(settings: Settings, shape: Shape) -> float:
    dtype = settings.inference.dtype
    return shape.parameters * BYTES["bfloat16" if dtype == "auto" else dtype] / GIB


def _adapters(settings: Settings, shape: Shape) -> float:
    tuning = settings.finetuning
    return settings.adapter_places * shape.lora_parameters(tuning.lora_target_modules, tuning.lora_r) * 2 / GIB
