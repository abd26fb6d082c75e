"""Write an adapter so that its folder is either complete or absent.

It is written to a hidden sibling folder, read back and compared, synced to the disk, and renamed into place.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

if TYPE_CHECKING:
    from peft import PeftModel

from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from wmkml.adapters.probe import PROBE_FILE, Probe, write_probe
from wmkml.system import durable_files
from wmkml.training.lora import AdapterBrokenError, adapter_config_json, check_tensors, lora_parameters


class FolderGoneError(RuntimeError):
    """The parent folder of the adapter no longer exists."""


def write_adapter(model: PeftModel, folder: Path, measure: Callable[[], Probe]) -> str:
    """Write the model's LoRA to `folder`, in PEFT's format, and beside it what its trainer measures on the probe.

    Args:
        folder: must not exist; its parent must.
        measure: reads the probe's text with the model just before the rename, and raises if it must not be served.

    Returns:
        The sha256 of `adapter_model.safetensors`.

    Raises:
        AdapterBrokenError: the weights are not finite, the disk returns other weights than were written, the folder
            exists already, or `measure` raised it.  The folder does not exist afterwards.
        FolderGoneError: the parent does not exist, or was deleted meanwhile.  It is never created: once a run is over
            and deleted, no weights trained on its words may reappear.
    """
    tensors = _trained_tensors(model)
    check_tensors(tensors, tensors, folder)
    if folder.exists():
        raise AdapterBrokenError(f"{folder} exists already; an adapter's folder is never written twice.")
    unfinished = unfinished_folder(folder)
    # A killed worker may have left it behind.
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        durable_files.write(unfinished / WEIGHTS_FILE, _weights_file(tensors))
        durable_files.write(unfinished / CONFIG_FILE, adapter_config_json(model).encode())
        content = (unfinished / WEIGHTS_FILE).read_bytes()
        read = load_safetensors(content)
        check_tensors(read, tensors, folder)
        if any(not torch.equal(read[name], tensor) for name, tensor in tensors.items()):
            raise AdapterBrokenError(f"{folder}: the disk gave back other weights than were written.")
        durable_files.write(unfinished / PROBE_FILE, write_probe(measure()))
        durable_files.sync_folder(unfinished)
        unfinished.rename(folder)
        durable_files.sync_folder(folder.parent)
    except FileNotFoundError:
        if folder.parent.is_dir():
            raise
        raise FolderGoneError(f"{folder.parent} is gone.") from None
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return hashlib.sha256(content).hexdigest()


def weights_sha256(model: PeftModel) -> str:
    """The sha256 of the `adapter_model.safetensors` that `write_adapter` would write, without writing it."""
    return hashlib.sha256(_weights_file(_trained_tensors(model))).hexdigest()


def _trained_tensors(model: PeftModel) -> dict[str, torch.Tensor]:
    return {
        name: parameter.detach().to("cpu", torch.float32).contiguous()
        for name, parameter in lora_parameters(model).items()
    }


def _weights_file(tensors: dict[str, torch.Tensor]) -> bytes:
    content: bytes = save_safetensors(tensors, metadata={"format": "pt"})
    return content


def write_lora_into(model: PeftModel, folder: Path) -> None:
    """Write the LoRA's two files into a folder that exists; the configuration last, so that a folder with it is whole.

    Raises:
        AdapterBrokenError: the weights are not finite.
    """
    tensors = _trained_tensors(model)
    check_tensors(tensors, tensors, folder)
    durable_files.replace(folder / WEIGHTS_FILE, _weights_file(tensors))
    durable_files.replace(folder / CONFIG_FILE, adapter_config_json(model).encode())


def unfinished_folder(folder: Path) -> Path:
    """The folder an adapter is written to first: a hidden sibling, so that the rename stays on one file system."""
    return folder.parent / f".{folder.name}.unfinished"
