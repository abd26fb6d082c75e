"""A probe as an adapter's trainer would have left it, read by transformers and PEFT, independently of the engines."""

from __future__ import annotations

from pathlib import Path

import torch

from wmkml.adapters.probe import PROBE_FILE, Probe, write_probe

TOKENS = tuple((11 * place) % 300 + 10 for place in range(200))


def read(model: Path, adapter: Path | None) -> tuple[float, ...]:
    """Log-probabilities of `TOKENS[1:]` by transformers and PEFT, independently of the engines and of the trainer."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    if adapter is not None:
        loaded = PeftModel.from_pretrained(loaded, str(adapter)).eval()
    with torch.no_grad():
        logits = loaded(torch.tensor([TOKENS])).logits[0]
    return tuple(float(torch.log_softmax(logits[place], -1)[TOKENS[place + 1]]) for place in range(len(TOKENS) - 1))


def with_probe(model: Path, adapter: Path, previous: tuple[float, ...] | None = None) -> Path:
    """The adapter with its probe beside it; `previous`: as `read` of the one before, by default of none."""
    of_base = read(model, None)
    probe = Probe(TOKENS, of_base, previous or of_base, read(model, adapter))
    (adapter / PROBE_FILE).write_bytes(write_probe(probe))
    return adapter
