"""What is expected in the memory of each device, part by part, for settings that are decided.

Reckoned from the model's shape.  `docs/gpu.md` says which of these figures nobody has measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wmkml.config import Settings
from wmkml.engine.setup import LONGEST_WINDOW
from wmkml.launcher.memory.model import GIB, Shape, training_gib
from wmkml.system.gpus import Gpu

PROGRAM_GIB = 0.8
"""Memory of a Python process with torch before it holds a model."""

CUDA_CONTEXT_GIB = 0.6
"""GPU memory of a process before it holds a model."""

NCCL_GIB = 0.5
"""GPU memory of each of several processes that train together, for what they send each other."""

VLLM_WORKSPACE_GIB = 1.2
"""GPU memory that vLLM needs for the activations of one step and for its CUDA graphs with adapters."""

TRANSFORMERS_CACHE_GIB = 2.0
"""GPU memory of the transformers engine's caches and activations."""

USABLE_SHARE = 0.95
"""The share of a GPU's memory that is planned for; the driver, a display and fragmentation have the rest."""

ENOUGH_WINDOWS = 2
"""A key-value cache is large enough when it holds this many full windows: some dozen ordinary conversations."""


@dataclass(frozen=True)
class Holding:
    """Memory that a part of one process is expected to use on one device, in GiB."""

    process: str
    part: str
    gib: float


@dataclass(frozen=True)
class Device:
    """A GPU or the machine's memory: its size in GiB, how much of it can be planned for, and its expected use."""

    name: str
    gib: float
    usable_gib: float
    holdings: tuple[Holding, ...]

    @property
    def expected_gib(self) -> float:
        """The sum of the holdings."""
        return sum(holding.gib for holding in self.holdings)

    @property
    def least_free_gib(self) -> float:
        """What must be free before: what is expected, less its part of what driver, display and fragmentation are left."""
        return self.expected_gib * self.usable_gib / self.gib

    @property
    def fits(self) -> bool:
        """Whether what is expected can be held."""
        return self.expected_gib <= self.usable_gib + 1e-6


@dataclass(frozen=True)
class EngineMemory:
    """What the engine needs on each of its GPUs, in GiB."""

    settings: Settings
    shape: Shape

    @property
    def gpus_together(self) -> int:
        """GPUs that hold a copy of the model together; each has its part of the weights and of the cache."""
        return self.settings.inference.tensor_parallel_size if self.settings.inference.engine == "vllm" else 1

    @property
    def number_format(self) -> str:
        """Of the served weights, a key of `BYTES`."""
        inference = self.settings.inference
        if inference.engine == "vllm" and inference.quantization in ("fp8", "awq", "gptq"):
            return inference.quantization
        return "bfloat16" if inference.dtype == "auto" else inference.dtype

    @property
    def weights_gib(self) -> float:
        """The model itself, or its part."""
        return self.shape.weights_gib(self.number_format) / self.gpus_together

    @property
    def adapters_gib(self) -> float:
        """Places for all adapters of a run, in 16 bits."""
        tuning = self.settings.finetuning
        # Of several GPUs vLLM divides one of an adapter's two matrices, and gives each the other whole.  Counted whole.
        parameters = self.shape.lora_parameters(tuning.lora_target_modules, tuning.lora_r)
        return self.settings.max_loaded_adapters * parameters * 2 / GIB

    @property
    def workspace_gib(self) -> float:
        """Beside weights, adapters and cache."""
        return VLLM_WORKSPACE_GIB if self.settings.inference.engine == "vllm" else 0.0

    @property
    def kv_bytes_a_token(self) -> float:
        """Bytes of one token's keys and values on each GPU: its part of the heads, and never less than one of them."""
        parts = min(self.gpus_together, self.shape.kv_heads)
        return self.shape.kv_bytes_a_token / parts

    @property
    def needed_gib(self) -> float:
        """The least that the engine can serve with: everything, and the smallest cache that is enough."""
        return self._without_cache_gib + self._smallest_cache_gib

    def cache_gib(self, share_gib: float) -> float:
        """The key-value cache of an engine that is given `share_gib` in all."""
        if self.settings.inference.engine != "vllm":
            return TRANSFORMERS_CACHE_GIB
        return max(share_gib - self._without_cache_gib, self._smallest_cache_gib)

    @property
    def _without_cache_gib(self) -> float:
        return CUDA_CONTEXT_GIB + self.weights_gib + self.adapters_gib + self.workspace_gib

    @property
    def _smallest_cache_gib(self) -> float:
        if self.settings.inference.engine != "vllm":
            return TRANSFORMERS_CACHE_GIB
        window = self.settings.inference.max_model_len or LONGEST_WINDOW
        return ENOUGH_WINDOWS * window * self.kv_bytes_a_token / GIB

    def holdings(self, share_gib: float) -> list[Holding]:
        """The parts on one GPU of which the engine is given `share_gib`."""
        cache = self.cache_gib(share_gib)
        tokens = int(cache * GIB / self.kv_bytes_a_token)
        weights = "weights" if self.number_format == "bfloat16" else f"weights ({self.number_format})"
        if self.gpus_together > 1:
            weights += f", 1/{self.gpus_together} of them"
        parts = {
            "CUDA": CUDA_CONTEXT_GIB,
            weights: self.weights_gib,
            "adapters of a run": self.adapters_gib,
            "activations and CUDA graphs": self.workspace_gib,
            f"key-value cache ({tokens:,} tokens)": cache,
        }
        return [Holding("inference", part, gib) for part, gib in parts.items() if gib]


def worker_holdings(
    settings: Settings, shape: Shape, precision: str, tokens: int, devices: int = 1, *, sharded: bool = False
) -> list[Holding]:
    """What training needs on each of its devices, without what a process needs before it holds a model.

    Args:
        precision: of the frozen weights.
        tokens: in one micro-batch.
        devices: that train together.
        sharded: each of them holds a part of the weights.
    """
    tuning = settings.finetuning
    lora = shape.lora_parameters(tuning.lora_target_modules, tuning.lora_r)
    # A sample longer than a micro-batch is one by itself.
    parts = training_gib(shape, precision, max(tokens, tuning.max_length), lora, devices if sharded else 1)
    if devices > 1:
        parts["exchange with the other GPUs (NCCL)"] = NCCL_GIB
    return [Holding("worker", part.replace("weights", f"weights ({precision})"), gib) for part, gib in parts.items()]


def memory_of_machine(settings: Settings, shape: Shape, memory_gib: float) -> Device:
    """The machine's memory where there is no GPU."""
    engine = EngineMemory(settings, shape)
    programs = 3 if settings.inference.engine == "vllm" else 1
    here = [
        Holding("inference", "weights", engine.weights_gib),
        Holding("inference", "adapters of a run", engine.adapters_gib),
        Holding("inference", "key-value cache", settings.inference.kv_cache_gib),
    ]
    holdings = [
        Holding("owner", "program", 0.1),
        Holding("inference", f"{programs} programs" if programs > 1 else "program", programs * PROGRAM_GIB),
        *(here if settings.inference.engine != "remote" else []),
    ]
    # Without a GPU the weights are in float32, whatever precision is configured, and whole in every process.
    programs = max(1, settings.finetuning.devices)
    of_worker = worker_holdings(settings, shape, "float32", settings.finetuning.micro_batch_tokens)
    for held in (Holding("worker", "program", PROGRAM_GIB), *of_worker):
        holdings.append(
            replace(held, part=f"{programs} × {held.part}", gib=programs * held.gib) if programs > 1 else held
        )
    return Device("memory (no GPU)", memory_gib, memory_gib, tuple(holdings))


def memory_of_gpu(gpu: Gpu, settings: Settings, shape: Shape, *, serves: bool, trains: bool) -> Device:
    """One GPU's memory, for settings whose `precision` and `micro_batch_tokens` are decided."""
    holdings: list[Holding] = []
    if serves:
        holdings += EngineMemory(settings, shape).holdings(settings.inference.gpu_memory_utilization * gpu.memory_gib)
    if trains:
        tuning = settings.finetuning
        holdings.append(Holding("worker", "CUDA", CUDA_CONTEXT_GIB))
        sharded = tuning.parallel == "fsdp"
        holdings += worker_holdings(
            settings, shape, tuning.precision, tuning.micro_batch_tokens, max(1, tuning.devices), sharded=sharded
        )
    return Device(gpu_name(gpu), gpu.memory_gib, gpu.memory_gib * USABLE_SHARE, tuple(holdings))


def gpu_name(gpu: Gpu) -> str:
    """The name of a GPU as a device of the plan."""
    return f"GPU {gpu.index} ({gpu.name})"
