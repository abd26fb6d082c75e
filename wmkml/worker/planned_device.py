"""Keeps the worker to the GPUs that the launcher's plan gave it: not the CPU instead, and no more of a shared card than its share.

vLLM takes memory that another process holds at its start for its own.  So on a card that both share the engine is first,
and the worker loads its model once the engine is ready.  It waits for that itself, so that the order holds after any
restart, of either of them; and since it is capped, an engine that is started again finds its own share free.
"""

from __future__ import annotations

import asyncio
import logging
import time

import httpx
import torch

from wmkml.config.planned import PlannedTraining

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Between two questions whether the engine is ready."""

REPORT_SECONDS = 30.0
"""How often the log says that the worker waits."""

REQUEST_SECONDS = 5.0
"""Timeout of one question."""


class GpuMissingError(RuntimeError):
    """The plan gave the worker GPUs, and torch sees none or fewer."""


def require_planned_gpus(planned: PlannedTraining) -> None:
    """Return if torch sees the GPUs that were planned, or if none were.

    Raises:
        GpuMissingError: the worker would train on fewer, or on the CPU, a hundred times as slowly, and nobody would know
            why.
    """
    # Counting alone asks the driver's tools, which also count what this torch cannot use.
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count >= len(planned.gpus):
        return
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    names = f"GPU{'s' if len(planned.gpus) > 1 else ''} {', '.join(map(str, planned.gpus))}"
    instead = "on fewer" if count else "on the CPU"
    raise GpuMissingError(
        f"The plan gave this worker {names}, but torch {torch.__version__} ({built}) counts "
        f"{count} GPUs, so it would train {instead}. Compare the driver's CUDA in nvidia-smi: it must "
        "be at least torch's. Install a newer driver, or env/ anew (./master_script.sh install). To train on the CPU "
        "all the same, start with WMKML_GPUS=0."
    )


async def wait_for_engine(url: str) -> None:
    """Return once inference at `url` says that its engine is ready."""
    began = reported_at = time.monotonic()
    log.info("Waiting for the engine at %s, which is first on the GPU that both share.", url)
    # On this machine no proxy of the environment knows it.
    async with httpx.AsyncClient(timeout=REQUEST_SECONDS, trust_env=False) as client:
        while not await _is_ready(client, url):
            if time.monotonic() - reported_at >= REPORT_SECONDS:
                reported_at = time.monotonic()
                log.info("Still waiting for the engine, for %.0f s.", reported_at - began)
            await asyncio.sleep(POLL_SECONDS)
    log.info("The engine is ready; the model is loaded now.")


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/healthz")).status_code == 200
    except httpx.TransportError:
        return False


def cap_memory(share: float) -> None:
    """Keep this process's tensors within its share of the GPU; a larger batch runs out of memory, and is halved."""
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)
        log.info("Using at most %.0f%% of the GPU's memory, which the engine shares.", 100 * share)
