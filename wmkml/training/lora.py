"""The LoRA over the base model: wrapped once, then made fresh or filled from a folder in place, round after round.

Knows PEFT and its format on disk; knows nothing of steps, samples or rounds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as load_safetensors

if TYPE_CHECKING:
    from peft import PeftModel

from wmkml.training.base import Base

NAME = "default"
"""PEFT's name for the one adapter in the model; it is not part of the keys on disk."""

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


class AdapterBroken(RuntimeError):
    """An adapter that cannot be continued or handed in.  Its text says which folder and what is wrong with it."""


class ModulesMissing(ValueError):
    """None of `finetuning.lora_target_modules` is in this model."""


@dataclass(frozen=True)
class LoraShape:
    """Rank, scale (alpha / r), dropout before the LoRA, and the names of the linear layers that get one."""

    r: int
    alpha: int
    dropout: float
    modules: tuple[str, ...]


def wrap(base: Base, shape: LoraShape) -> PeftModel:
    """The base model with a LoRA over it, in float32.  Wraps the base in place, so do it once.

    Raises:
        ModulesMissing: the model has no layer of these names.
    """
    from peft import LoraConfig, get_peft_model

    present = {name.rpartition(".")[2] for name, _ in base.model.named_modules()}
    if not present.intersection(shape.modules):
        raise ModulesMissing(
            f"finetuning.lora_target_modules: this model has no layer named {' or '.join(shape.modules)}; "
            "for Mistral: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj."
        )
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=shape.r,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=sorted(shape.modules),
    )
    config.base_model_name_or_path = str(base.folder)
    return get_peft_model(base.model, config)


def weights(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The LoRA's parameters under the names that they have on disk."""
    return {
        name.replace(f".{NAME}.", "."): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def make_fresh(model: PeftModel, seed: int) -> None:
    """Forget everything learnt: A drawn anew from the seed as PEFT draws it, B zero, so that the base model speaks."""
    from peft.tuners.lora import LoraLayer

    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.reset_lora_parameters(NAME, True)


def fill(model: PeftModel, folder: Path, sha256: str | None = None) -> None:
    """Put the weights of the adapter in `folder` into the model, in place.

    Args:
        sha256: what the weights' file must hash to; None: anything.

    Raises:
        AdapterBroken: no adapter there, another file than the one meant, other names or shapes, or not finite.
            The model is as it was before.
    """
    try:
        content = (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise AdapterBroken(f"{folder}: {WEIGHTS_FILE} cannot be read ({error.strerror}).") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise AdapterBroken(f"{folder}: {WEIGHTS_FILE} is not the file that was accepted (its sha256 differs).")
    read = _parsed(content, folder)
    inside = weights(model)
    check(read, inside, folder)
    with torch.no_grad():
        for name, parameter in inside.items():
            parameter.copy_(read[name])


def check(read: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], folder: Path) -> None:
    """That tensors have the names and shapes expected, and finite numbers.

    Raises:
        AdapterBroken: they have not.
    """
    if foreign := sorted(read.keys() ^ expected.keys()):
        raise AdapterBroken(f"{folder}: {len(foreign)} tensors are missing or foreign, the first is {foreign[0]}.")
    for name, tensor in read.items():
        if tensor.shape != expected[name].shape:
            raise AdapterBroken(
                f"{folder}: {name} has shape {tuple(tensor.shape)}; this model and rank need "
                f"{tuple(expected[name].shape)}."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise AdapterBroken(f"{folder}: {name} holds numbers that are not finite.")


def config_text(model: PeftModel) -> str:
    """`adapter_config.json` as PEFT writes it for an adapter that is to be served."""
    content: dict[str, Any] = model.peft_config[NAME].to_dict()
    content["inference_mode"] = True
    ordered = {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(content.items())}
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


def _parsed(content: bytes, folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError

    try:
        return dict(load_safetensors(content))
    except SafetensorError:
        raise AdapterBroken(f"{folder}: {WEIGHTS_FILE} is not a safetensors file, or was cut short.") from None
