"""How many CPU threads the engine and the worker compute with: one rule, which the plan and the services share."""

from __future__ import annotations

from wmkml.config.schema import Settings

MAX_CORES_OF_ONE_WORKER_THREAD = 4
"""On this many cores or fewer the worker uses one thread, because visitors wait for the engine alone."""


MAX_THREADS_BESIDE_A_GPU = 8
"""With a GPU the CPU only reads text and starts the GPU's work; more threads than this wait for one another."""


def worker_threads(settings: Settings, cores: int, *, gpu: bool) -> int:
    """CPU threads of training: as configured; else beside a GPU a few, on few cores one, on many half of them."""
    if settings.finetuning.worker_threads:
        return settings.finetuning.worker_threads
    if gpu:
        return _threads_beside_gpu(cores)
    return 1 if cores <= MAX_CORES_OF_ONE_WORKER_THREAD else cores // 2


def engine_threads(settings: Settings, cores: int, *, gpu: bool, replicas: int = 1) -> int:
    """CPU threads of each process of the engine: as configured; else beside a GPU a few, else what the worker leaves.

    Args:
        replicas: processes that serve, one for each GPU of the engine.
    """
    if settings.inference.cpu_threads:
        return settings.inference.cpu_threads
    if gpu:
        return _threads_beside_gpu(cores // replicas)
    return max(1, cores - worker_threads(settings, cores, gpu=gpu))


def _threads_beside_gpu(cores: int) -> int:
    # Not left to the libraries: each process would start a thread for every core, 128 on a host that rents out GPUs.
    return min(MAX_THREADS_BESIDE_A_GPU, max(1, cores // 4))
