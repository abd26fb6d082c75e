"""What a model's `generation_config.json` recommends for drawing: set aside where the caller says how answers are drawn.

transformers' `generate` fills in from it whatever a caller left open: `min_p`, `typical_p`, a minimal length, tokens that are
suppressed.  An answer would then depend on a file that nobody named, and differ from the one that vLLM gives here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEPT = ("bos_token_id", "eos_token_id", "pad_token_id")
"""What is no recommendation but the model's own: which tokens begin, end and pad."""


@contextmanager
def without_recommendations(network: Any) -> Iterator[None]:
    """Let `generate` of this model, or of PEFT's model around it, take nothing but what it is given meanwhile."""
    from transformers import GenerationConfig

    model = network.get_base_model() if hasattr(network, "get_base_model") else network
    recommended = model.generation_config
    model.generation_config = GenerationConfig(**{name: getattr(recommended, name, None) for name in KEPT})
    try:
        yield
    finally:
        model.generation_config = recommended
