"""What the launcher's plan gives a process beside the settings: environment variables, which are named here alone.

A process that is started by hand has none of them, and decides for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REPLICAS = "WMKML_DATA_PARALLEL"
KV_CACHE = "WMKML_KV_CACHE_BYTES"
WORKER_GPUS = "WMKML_WORKER_GPUS"
WORKER_SHARE = "WMKML_WORKER_GPU_SHARE"

ALL_GPUS = "WMKML_ALL_GPUS"
"""For the owner, which sees no GPU: the indices of all GPUs of the plan, as CUDA_VISIBLE_DEVICES lists them."""

READY_TIMEOUT = "VLLM_ENGINE_READY_TIMEOUT_S"
"""vLLM's own: how long its processes may take to start, in seconds."""


@dataclass(frozen=True)
class PlannedEngine:
    """What the plan gives inference.

    Attributes:
        replicas: GPUs of vLLM's data parallelism.
        kv_cache_bytes: of the key-value cache, on a GPU that the worker shares; None: vLLM measures what is left.
    """

    replicas: int = 1
    kv_cache_bytes: int | None = None

    def variables(self) -> dict[str, str]:
        """The environment variables that `planned_engine` reads back."""
        variables = {REPLICAS: str(self.replicas)}
        return variables if self.kv_cache_bytes is None else {**variables, KV_CACHE: str(self.kv_cache_bytes)}


@dataclass(frozen=True)
class PlannedTraining:
    """What the plan gives the worker.

    Attributes:
        gpus: the indices of its GPUs, as `nvidia-smi` counts; none where there are none, or they are only pretended.
        share: the most of the GPU's memory that its tensors may take, where the engine has the rest; None: it has its
            device alone.  With a share it loads its model only when the engine is ready: vLLM counts what another
            process holds at its start as its own.
    """

    gpus: tuple[int, ...] = ()
    share: float | None = None

    def variables(self) -> dict[str, str]:
        """The environment variables that `planned_training` reads back."""
        variables = {WORKER_GPUS: ",".join(map(str, self.gpus))} if self.gpus else {}
        return variables if self.share is None else {**variables, WORKER_SHARE: f"{self.share:.4f}"}


def planned_engine(environment: Mapping[str, str]) -> PlannedEngine:
    """What the plan gave this inference process, by its environment."""
    cache = environment.get(KV_CACHE)
    return PlannedEngine(int(environment.get(REPLICAS) or 1), int(cache) if cache else None)


def planned_training(environment: Mapping[str, str]) -> PlannedTraining:
    """What the plan gave this worker, by its environment."""
    gpus, share = environment.get(WORKER_GPUS), environment.get(WORKER_SHARE)
    return PlannedTraining(
        tuple(int(index) for index in gpus.split(",")) if gpus else (), float(share) if share else None
    )
