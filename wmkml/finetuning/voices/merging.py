"""Whole models' folders, which every program loads like any other: a LoRA merged into its base, or all weights trained."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from wmkml.adapters.files import CONFIG_FILE, missing_file
from wmkml.dialogue.templates import JINJA_FILE, TEMPLATE_FILE, has_template
from wmkml.models.files import is_configuration
from wmkml.system import durable_files
from wmkml.training.base_model import count_parameters

FLOAT32_UP_TO = 1_000_000_000
"""Parameters up to which the sum is taken in float32 before it is rounded to the base's number format."""


class MergeError(ValueError):
    """The adapter cannot be merged into this model.  The message says why."""


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Write the base model with the adapter merged into it to `out`, which appears whole or not at all.

    Tokenizer and configuration are the base's; the chat template is the one that the adapter was taught with.

    Raises:
        MergeError: one of the folders is not what it should be, the two do not fit, or `out` exists.
    """
    check_adapter_folder(adapter)
    if not (base / "config.json").is_file():
        raise MergeError(f"{base} holds no model (no config.json).")
    if out.exists():
        raise MergeError(f"{out} exists already.")
    unfinished = out.parent / f".{out.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _merged(base, adapter).save_pretrained(str(unfinished))
        copy_beside(base, unfinished)
        if has_template(adapter):
            for name in (TEMPLATE_FILE, JINJA_FILE):
                shutil.copyfile(adapter / name, unfinished / name)
        for path in unfinished.iterdir():
            # For writing, too: without that Windows writes nothing through.
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        durable_files.sync_folder(unfinished)
        unfinished.rename(out)
        durable_files.sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def check_adapter_folder(adapter: Path) -> None:
    """Raise MergeError unless the folder holds an adapter's files."""
    if not adapter.is_dir() or (missing := missing_file(adapter)) is not None:
        what = f"no {missing}" if adapter.is_dir() else "no folder"
        raise MergeError(f"{adapter}: there is {what}, so it is no adapter in PEFT's format.")


def _merged(base: Path, adapter: Path) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    kept = saved_dtype(base)
    summed = torch.float32 if count_parameters(base) <= FLOAT32_UP_TO else kept
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=summed, local_files_only=True)
    _untie_output(model, adapter)
    try:
        tuned = PeftModel.from_pretrained(model, str(adapter))
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MergeError(f"{adapter} does not fit {base}: {reason}") from None
    merged = tuned.merge_and_unload()
    if not all(bool(torch.isfinite(parameter).all()) for parameter in merged.parameters()):
        raise MergeError(f"{adapter}: merged into {base} it gives numbers that are not finite.")
    return merged.to(kept)


def _untie_output(model: Any, adapter: Path) -> None:
    """Give the output layer weights of its own where they are the embeddings' and the adapter changes them."""
    output = model.get_output_embeddings()
    name = next(name for name, module in model.named_modules() if module is output)
    targets = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8")).get("target_modules") or []
    if name.rpartition(".")[2] in targets and output.weight is model.get_input_embeddings().weight:
        output.weight = torch.nn.Parameter(output.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
        model.config.get_text_config().tie_word_embeddings = False


def saved_dtype(base: Path) -> torch.dtype:
    """The number format that a model's weights have on the disk."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    dtype: torch.dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"))
    return dtype


def copy_beside(base: Path, out: Path) -> None:
    """Copy what the base has beside its weights and configuration: its tokenizer and template, and no record of a finetune."""
    for path in base.iterdir():
        used = path.name == TEMPLATE_FILE or is_configuration(path.name)
        if path.is_file() and used and not (out / path.name).exists():
            shutil.copyfile(path, out / path.name)


def write_model(model: Any, base: Path, folder: Path) -> None:
    """Write a whole model that was trained into a folder, in the number format of its base and with its tokenizer."""
    model.to(saved_dtype(base)).save_pretrained(str(folder))
    copy_beside(base, folder)
