"""A frozen base model of which each rank holds a part, for models that one device cannot hold: torch's FSDP2.

Every transformer layer is divided among the ranks, and gathered just before it computes; the rest (embeddings, last norm, head)
is gathered for the length of a pass.  Nothing of it is trained, so nothing is ever summed or written.  The LoRA, which is
put into the layers afterwards, is whole on every rank, and trained, saved and loaded as in a single process.

torch's `fully_shard` is called directly.  accelerate's plugin for it divides every parameter of the model, the LoRA's too, has
to be given the optimizer, and brings a loop's accumulation of its own; of accelerate the empty model is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.training.base_model import BaseMissingError, FrozenBase, Precision, fast_attention, require_model

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from wmkml.training.ranks.process import RankSeat


def load_sharded_base(folder: Path, precision: Precision, seat: RankSeat, *, needs_template: bool = True) -> FrozenBase:
    """Load the model in `folder`, without the network, a part of it on the device of every rank.

    Rank 0 reads the files into the machine's memory, which must hold the whole model, and sends each rank its part.

    Args:
        precision: bfloat16 (`auto`: the same on a GPU) or float32; on a CPU the weights are always in float32.
        needs_template: as `load_tokenizer`.

    Raises:
        BaseMissingError: the folder holds no model, or one whose layers are not known, or nf4 was requested.
    """
    from transformers import AutoModelForCausalLM

    require_model(folder)
    if precision == "nf4":
        raise BaseMissingError("finetuning.precision: nf4 cannot be divided among GPUs (finetuning.parallel: fsdp).")
    on_gpu = seat.device.type == "cuda"
    halved = precision == "bfloat16" or (precision == "auto" and on_gpu)
    options: dict[str, Any] = {"dtype": torch.bfloat16 if halved and on_gpu else torch.float32}
    if attention := fast_attention(seat.device, halved):
        options["attn_implementation"] = attention
    weights: dict[str, Any] = {}
    if seat.group.rank == 0:
        whole = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, **options)
        weights = whole.state_dict()
    model = _empty_model(folder, options)
    model.requires_grad_(False)
    model.config.use_cache = False
    mesh = init_device_mesh(seat.device.type, (seat.group.size,))
    for layer in _layers(model, folder):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    _allocate(model, seat.device)
    set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
    distributed.barrier()
    autocast = torch.bfloat16 if halved else None
    tokenizer = load_tokenizer(folder, needs_template=needs_template)
    return FrozenBase(model, tokenizer, folder, seat.device, "bfloat16" if halved else "float32", autocast)


def _empty_model(folder: Path, options: dict[str, Any]) -> PreTrainedModel:
    """The model without its weights; what is not in the files (tables of rotary positions) is computed."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, **options)
    model.tie_weights()
    return model


def _allocate(model: torch.nn.Module, device: torch.device) -> None:
    """Give every parameter its part's memory on the device, and bring the buffers there."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.to_empty(device=device)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


def _layers(model: PreTrainedModel, folder: Path) -> list[torch.nn.Module]:
    """The transformer layers, as transformers itself names their classes."""
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise BaseMissingError(f"{folder}: transformers does not say what the layers of this model are called.")
    return layers
