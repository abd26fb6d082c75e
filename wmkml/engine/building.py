"""Which engine runs, by its name, and what the settings say it is started with: the one place that knows both engines."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Literal

from wmkml.config import Settings
from wmkml.cores import engine_threads, usable_cores
from wmkml.engine.protocol import Engine
from wmkml.engine.setup import EngineSetup


def vllm_is_there() -> bool:
    """Whether vLLM is installed, without importing it."""
    return sys.platform == "linux" and importlib.util.find_spec("vllm") is not None


def build_engine(name: Literal["auto", "vllm", "transformers"], setup: EngineSetup) -> Engine:
    """An engine that is not started yet; `auto` is vLLM where it is installed."""
    if name == "vllm" or (name == "auto" and vllm_is_there()):
        from wmkml.engine.vllm_engine import VllmEngine

        return VllmEngine(setup)
    from wmkml.engine.transformers_engine import TransformersEngine

    return TransformersEngine(setup)


def engine_setup(settings: Settings, model: Path, replicas: int = 1) -> EngineSetup:
    """What the engine is started with, by the settings and this machine's cores."""
    import torch

    inference = settings.inference
    on_cpu = not torch.cuda.is_available()
    return EngineSetup(
        model=model,
        adapters=settings.adapter_places,
        rank=settings.finetuning.lora_r,
        window=inference.max_model_len,
        dtype=inference.dtype,
        sequences=inference.max_num_seqs,
        batched_tokens=inference.max_num_batched_tokens or (128 if on_cpu else 2048),
        threads=engine_threads(settings, usable_cores(), gpu=not on_cpu),
        kv_cache_gib=inference.kv_cache_gib,
        gpu_share=inference.gpu_memory_utilization,
        replicas=replicas,
    )
