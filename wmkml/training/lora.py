"""The LoRA over the base model: wrapped once, then reset or loaded from a folder in place, round after round."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as load_safetensors

if TYPE_CHECKING:
    from peft import PeftModel

from wmkml.adapters.files import WEIGHTS_FILE
from wmkml.system.memory import no_garbage_collection
from wmkml.training.base_model import FrozenBase

ADAPTER_NAME = "default"
"""PEFT's name of the only adapter in the model; the keys on disk do not contain it."""


@contextmanager
def tied_embeddings_accepted() -> Iterator[None]:
    """Without PEFT's warning of a LoRA in an output layer that is the embeddings' too; merging gives it weights of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        yield


class AdapterBrokenError(RuntimeError):
    """An adapter that cannot be loaded or must not be served.  The message says which folder and what is wrong."""


class ModulesMissingError(ValueError):
    """The model has no layer named in `finetuning.lora_target_modules`."""


@dataclass(frozen=True)
class LoraShape:
    """Rank, alpha (the scale is alpha / r), dropout before the LoRA, and the names of the linear layers to adapt."""

    r: int
    alpha: int
    dropout: float
    modules: tuple[str, ...]


def wrap_with_lora(base: FrozenBase, shape: LoraShape) -> PeftModel:
    """The base model with a LoRA in float32.  Changes the base in place, so call it once per base.

    Raises:
        ModulesMissingError: the model has no layer of these names.
    """
    with no_garbage_collection():
        from peft import LoraConfig, get_peft_model

    present = {name.rpartition(".")[2] for name, _ in base.model.named_modules()}
    if not present.intersection(shape.modules):
        raise ModulesMissingError(
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


def lora_parameters(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The LoRA's parameters by their names on disk."""
    return {
        name.replace(f".{ADAPTER_NAME}.", "."): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def reset_lora(model: PeftModel, seed: int) -> None:
    """Reset the LoRA: A initialised from the seed as PEFT does, B zero, so that the base model is unchanged."""
    from peft.tuners.lora import LoraLayer

    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.reset_lora_parameters(ADAPTER_NAME, True)


def load_lora(model: PeftModel, folder: Path, sha256: str | None = None) -> None:
    """Copy the weights of the adapter in `folder` into the model.

    Args:
        sha256: expected hash of the weights file; None: not checked.

    Raises:
        AdapterBrokenError: the file cannot be read, has another hash, other names or shapes, or numbers that are not
            finite.  The model is unchanged then.
    """
    try:
        content = (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise AdapterBrokenError(f"{folder}: {WEIGHTS_FILE} cannot be read ({error.strerror}).") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise AdapterBrokenError(f"{folder}: {WEIGHTS_FILE} is not the file that was accepted (its sha256 differs).")
    tensors = _parsed(content, folder)
    parameters = lora_parameters(model)
    check_tensors(tensors, parameters, folder)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def check_tensors(read: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Check that tensors have the expected names and shapes, and finite numbers.

    Args:
        folder: named in the error.

    Raises:
        AdapterBrokenError: they do not.
    """
    if unmatched := sorted(read.keys() ^ expected.keys()):
        raise AdapterBrokenError(
            f"{folder}: {len(unmatched)} tensors are missing or foreign, the first is {unmatched[0]}."
        )
    for name, tensor in read.items():
        if tensor.shape != expected[name].shape:
            raise AdapterBrokenError(
                f"{folder}: {name} has shape {tuple(tensor.shape)}; this model and rank need "
                f"{tuple(expected[name].shape)}."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise AdapterBrokenError(f"{folder}: {name} holds numbers that are not finite.")


def adapter_config_json(model: PeftModel) -> str:
    """The content of `adapter_config.json` as PEFT writes it for inference."""
    content: dict[str, Any] = model.peft_config[ADAPTER_NAME].to_dict()
    content["inference_mode"] = True
    ordered = {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(content.items())}
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


def _parsed(content: bytes, folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError

    try:
        return dict(load_safetensors(content))
    except SafetensorError:
        raise AdapterBrokenError(f"{folder}: {WEIGHTS_FILE} is not a safetensors file, or was cut short.") from None
