"""Which engine runs, by its name: the one place that knows both."""

from __future__ import annotations

import importlib.util
import sys
from typing import Literal

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
