"""Checkpoints: a finetune that was interrupted goes on with the same losses as if it had not been."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from wmkml.finetuning.settings import FinetuneRefusedError
from wmkml.training.loop import TrainingState

CHECKPOINT_FILE = "checkpoint.pt"
"""In the finetune's folder; written anew at each checkpoint, and deleted when the finetune is done."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out loss after a step, in nats a token; step 0: before training."""

    step: int
    loss: float


@dataclass(frozen=True)
class Checkpoint:
    """A finetune between two steps.

    Attributes:
        held_out: evaluations so far.
        best: parameters of the step with the lowest held-out loss, where training may end early.
    """

    state: TrainingState
    held_out: tuple[HeldOut, ...]
    best: tuple[torch.Tensor, ...] | None = None


def save_checkpoint(folder: Path, identity: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint; a crash leaves the one before.

    Args:
        identity: all that the losses depend on.
    """
    content = {
        "identity": json.dumps(identity, sort_keys=True),
        "state": {name: getattr(checkpoint.state, name) for name in checkpoint.state.__dataclass_fields__},
        "held_out": [asdict(evaluation) for evaluation in checkpoint.held_out],
        "best": checkpoint.best,
    }
    unfinished = folder / f".{CHECKPOINT_FILE}.unfinished"
    with unfinished.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / CHECKPOINT_FILE)


def load_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint in a finetune's folder.

    Raises:
        FinetuneRefusedError: there is none, it cannot be read, or it was trained otherwise than is asked for now.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        raise FinetuneRefusedError(f"--resume: {folder} holds no {CHECKPOINT_FILE}, so there is nothing to go on with.")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        before = json.loads(content["identity"])
        state = TrainingState(**content["state"])
        held_out = tuple(HeldOut(**evaluation) for evaluation in content["held_out"])
        best = content["best"]
    # torch.load raises whatever its unpickler meets.
    except Exception as error:  # noqa: BLE001 - raised again as an error that names the file
        raise FinetuneRefusedError(f"--resume: {path} cannot be read ({type(error).__name__}). Begin anew.") from None
    now = json.loads(json.dumps(identity))
    if differing := sorted(name for name in now if before.get(name) != now[name]):
        raise FinetuneRefusedError(
            f"--resume: {folder} was begun with another {', '.join(differing)}. Give the same, or begin anew elsewhere."
        )
    return Checkpoint(state, held_out, best)


def delete_checkpoint(folder: Path) -> None:
    """Delete the folder's checkpoint, if there is one."""
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
