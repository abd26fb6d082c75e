"""Creates the engine of a given name, and its setup from the settings: the only module that names both engines."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Literal

from wmkml.config import Settings
from wmkml.config.cpu_threads import engine_threads
from wmkml.config.planned import PlannedEngine
from wmkml.engine.protocol import Engine
from wmkml.engine.remote_protocol import Deployment
from wmkml.engine.setup import EngineSetup
from wmkml.system.cores import usable_cores

BY_ITSELF = PlannedEngine()
"""Without a plan."""


def build_engine(name: Literal["auto", "vllm", "transformers", "remote"], setup: EngineSetup) -> Engine:
    """An engine that is not started yet.

    Raises:
        ValueError: `name` is `auto`; `wmkml.engine.choice.choose_engine` decides that.  Or it is `remote`, and the setup
            names no deployment.
    """
    if name == "auto":
        raise ValueError("which engine is not decided yet: call choose_engine first")
    if name == "vllm":
        from wmkml.engine.vllm_engine import VllmEngine

        return VllmEngine(setup)
    if name == "remote":
        from wmkml.engine.remote_engine import RemoteEngine

        if setup.deployment is None:
            raise ValueError("inference.engine: remote needs inference.url, the deployment that is asked.")
        return RemoteEngine(setup, setup.deployment)
    from wmkml.engine.transformers_engine import TransformersEngine

    return TransformersEngine(setup)


def engine_setup(
    settings: Settings, model: Path, planned: PlannedEngine = BY_ITSELF, serving: Path | None = None
) -> EngineSetup:
    """The engine's setup by the settings, this machine's GPU or cores, and what the launcher's plan decided.

    Args:
        serving: the folder that adapters are loaded from, where a deployment elsewhere reads them.
    """
    import torch

    inference = settings.inference
    on_cpu = not torch.cuda.is_available()
    return EngineSetup(
        model=model,
        adapters=settings.max_loaded_adapters,
        rank=settings.finetuning.lora_r,
        target_modules=tuple(settings.finetuning.lora_target_modules),
        window=inference.max_model_len,
        dtype=inference.dtype,
        quantization=inference.quantization,
        sequences=inference.max_num_seqs,
        batched_tokens=inference.max_num_batched_tokens or (128 if on_cpu else 2048),
        threads=engine_threads(
            settings,
            usable_cores(),
            gpu=not on_cpu,
            replicas=planned.replicas * inference.tensor_parallel_size,
        ),
        kv_cache_gib=inference.kv_cache_gib,
        gpu_share=inference.gpu_memory_utilization,
        kv_cache_bytes=planned.kv_cache_bytes,
        replicas=planned.replicas,
        tensor_parallel=inference.tensor_parallel_size,
        engine_args=inference.engine_args,
        deployment=_deployment(settings, serving),
    )


def _deployment(settings: Settings, serving: Path | None) -> Deployment | None:
    inference = settings.inference
    if not inference.url:
        return None
    return Deployment(
        url=inference.url.rstrip("/").removesuffix("/v1"),
        key=inference.url_key.get_secret_value(),
        model=inference.url_model,
        label=installation_label(settings),
        folder_here=str(serving or ""),
        folder_there=inference.url_adapters,
        name_pattern=inference.url_adapter_name,
        through_proxy=True,
    )


def installation_label(settings: Settings) -> str:
    """Begins the names of this installation's adapters where another may have some too."""
    place = f"{socket.gethostname()}:{settings.general.data_folder}"
    return f"wmkml-{hashlib.sha256(place.encode()).hexdigest()[:6]}"
