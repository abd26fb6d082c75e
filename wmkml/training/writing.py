"""Writing an adapter so that its folder is whole or absent: beside its place, checked, synced to the disk, renamed.

Knows files and the LoRA's weights; the last look at the model (a forward pass) is handed in by the caller.
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

from wmkml import durable
from wmkml.training.lora import CONFIG_FILE, WEIGHTS_FILE, AdapterBroken, check, config_text, weights


class PlaceGone(RuntimeError):
    """The folder that an adapter was to be written in is not there any more."""


def write_adapter(model: PeftModel, folder: Path, probe: Callable[[], None]) -> str:
    """Write the model's LoRA to `folder`, in PEFT's format.

    Args:
        folder: must not exist; the folder it is to be in must.
        probe: looks at the model itself just before the rename, and raises if it must not be served.

    Returns:
        The sha256 of `adapter_model.safetensors`.

    Raises:
        AdapterBroken: the weights are not finite, what the disk gives back is something else, the folder exists
            already, or the probe's own error.  Nothing of this name exists then.
        PlaceGone: there is no folder to write it in, or it went away meanwhile.  It is not made: a run that is over is
            not to come back with weights that learned its words.
    """
    inside = {
        name: parameter.detach().to("cpu", torch.float32).contiguous() for name, parameter in weights(model).items()
    }
    check(inside, inside, folder)
    if folder.exists():
        raise AdapterBroken(f"{folder} exists already; an adapter's folder is never written twice.")
    unfinished = unfinished_folder(folder)
    # What a killed worker left behind.
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        durable.write(unfinished / WEIGHTS_FILE, save_safetensors(inside, metadata={"format": "pt"}))
        durable.write(unfinished / CONFIG_FILE, config_text(model).encode())
        content = (unfinished / WEIGHTS_FILE).read_bytes()
        read = load_safetensors(content)
        check(read, inside, folder)
        if any(not torch.equal(read[name], tensor) for name, tensor in inside.items()):
            raise AdapterBroken(f"{folder}: the disk gave back other weights than were written.")
        probe()
        durable.sync_folder(unfinished)
        unfinished.rename(folder)
        durable.sync_folder(folder.parent)
    except FileNotFoundError:
        if folder.parent.is_dir():
            raise
        raise PlaceGone(f"{folder.parent} is gone.") from None
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return hashlib.sha256(content).hexdigest()


def unfinished_folder(folder: Path) -> Path:
    """Where an adapter is while it is being written: a hidden sibling, so that the rename stays on one file system."""
    return folder.parent / f".{folder.name}.unfinished"
