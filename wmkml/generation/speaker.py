"""Loads models with their adapters and templates, each base model once, and switches between the adapters."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from wmkml.dialogue.chat_template import FittedPrompt, Message, fit_window, load_tokenizer, plain_ids
from wmkml.dialogue.templates import (
    NAMED,
    NONE,
    DialogueTemplate,
    TemplateError,
    find_template,
    has_template,
    load_template,
    render_sample,
    use_template,
)
from wmkml.generation.sources import SpeakerError, SpeakerSource
from wmkml.models.devices import DeviceMissingError, find_device
from wmkml.models.files import is_complete
from wmkml.system.memory import no_garbage_collection

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantize = Literal["none", "nf4", "int8"]

WEIGHT_BYTES: Mapping[Quantize, float] = {"nf4": 0.7, "int8": 1.1}
"""Of a quantized weight: half a byte or one, and what stays in 16 bits (embeddings, norms), as of a model of 7B."""

AUTO: Final = "auto"
"""The template that the adapter was taught with, else the model's own, else NONE."""

UNQUANTIZED: Final = "none"

WINDOW = 2048
"""Tokens that a model is given where its files name no longest text, as BLOOM's do not."""


@dataclass(frozen=True)
class Speaker:
    """A model that can be asked.

    Attributes:
        label: what it is called.
        network: the model in transformers, or PEFT's model around it.
        tokenizer: its tokenizer, with the template in place.
        template: None: prompts are continued as they stand.
        adapter: PEFT's name of the adapter; None: the model alone.
    """

    label: str
    network: Any = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    template: DialogueTemplate | None
    adapter: str | None
    device: torch.device

    @property
    def window(self) -> int:
        """The longest text in tokens, prompt and answer together."""
        return int(getattr(self.network.config, "max_position_embeddings", None) or WINDOW)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer by the template."""
        return self.template.stops if self.template else ()

    @contextlib.contextmanager
    def active(self) -> Iterator[Any]:
        """The network with this speaker's adapter and no other, while the context is open."""
        switch = getattr(self.network, "disable_adapter", None)
        if switch is None:
            yield self.network
        elif self.adapter is None:
            with switch():
                yield self.network
        else:
            self.network.set_adapter(self.adapter)
            yield self.network

    def prompt_ids(self, messages: Sequence[Message], max_tokens: int) -> FittedPrompt:
        """The ids after which the answer begins, how many tokens it may have, and how many messages did not fit.

        Of a conversation that is too long for the window, the oldest exchanges are left out.

        Raises:
            PromptTooLongError: the last prompt does not fit.
            MessagesRefusedError: the template cannot express them.
        """
        if self.template is not None:
            return fit_window(self.tokenizer, messages, self.window, max_tokens)
        ids = self.text_ids("\n\n".join(message["content"] for message in messages))
        if len(ids) >= self.window:
            raise SpeakerError(f"The prompt has {len(ids)} tokens; {self.label} reads {self.window}. Shorten it.")
        return FittedPrompt(tuple(ids), min(max_tokens, self.window - len(ids)), 0)

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text without a template, after the begin token where the model knows one."""
        if not text:
            begin = (
                self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.tokenizer.eos_token_id
            )
            return [] if begin is None else [int(begin)]
        if self.tokenizer.eos_token_id is None:
            return plain_ids(self.tokenizer, text)
        return list(render_sample(self.tokenizer, [{"role": "assistant", "content": text}]).ids[:-1])


def load_speakers(
    sources: Sequence[SpeakerSource],
    *,
    device: str = AUTO,
    dtype: Dtype = "auto",
    quantize: Quantize = UNQUANTIZED,
    template: str = AUTO,
    on_loading: Callable[[str], None] = lambda sentence: None,
) -> list[Speaker]:
    """Load every source; models that several of them share, once.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: of the weights; auto: float32 on a CPU, else bfloat16 (float16 on Apple's GPU).
        quantize: of the weights, to nf4 or int8 as finetuning does it; an NVIDIA GPU alone can.
        template: a template's name or file for all of them; `auto`: each its own, and an untaught model beside an adapter
            the adapter's, so that both are asked alike.
        on_loading: is told what is being loaded.

    Raises:
        SpeakerError: something cannot be loaded.
    """
    import torch

    try:
        place = find_device(device)
    except DeviceMissingError as error:
        raise SpeakerError(str(error)) from None
    names = {"auto": "float32" if place.type == "cpu" else "float16" if place.type == "mps" else "bfloat16"}
    number_format: torch.dtype = getattr(torch, names.get(dtype, dtype))
    folders = dict.fromkeys(source.model for source in sources)
    for folder in folders:
        if not is_complete(folder):
            raise SpeakerError(
                f"{folder} holds no whole model: weights (*.safetensors) or tokenizer are missing or cut off. "
                "Fetch it again: python -m wmkml download."
            )
    if quantize != UNQUANTIZED and place.type != "cuda":
        raise SpeakerError(f"--quantize {quantize} needs an NVIDIA GPU, and this is {place}. Leave it out.")
    check_memory([*folders], WEIGHT_BYTES.get(quantize, number_format.itemsize), place)
    speakers: dict[int, Speaker] = {}
    for folder in folders:
        together = [(index, source) for index, source in enumerate(sources) if source.model == folder]
        on_loading(f"Loading {', '.join(source.label for _, source in together)} on {place} …")
        network, tokenizer = _load_model(folder, number_format, place, quantize)
        adapters = {source.adapter: f"adapter{index}" for index, source in together if source.adapter is not None}
        for path, name in adapters.items():
            network = _add_adapter(network, path, name)
        shared = _shared_template([source.adapter for _, source in together], template)
        for index, source in together:
            own, chosen = _with_template(tokenizer, source, template, shared)
            name_in_peft = adapters[source.adapter] if source.adapter is not None else None
            speakers[index] = Speaker(source.label, network, own, chosen, name_in_peft, place)
    return [speakers[index] for index in range(len(sources))]


def check_memory(
    folders: Sequence[Path], itemsize: float, device: torch.device, available: float | None = None
) -> None:
    """Check that the weights fit, before any is read.

    Args:
        itemsize: bytes of a weight in memory.
        available: GiB; None: asked of the device, and not checked where it does not say.

    Raises:
        SpeakerError: they do not.
    """
    import torch

    from wmkml.system.memory import available_gib
    from wmkml.training.base_model import count_parameters

    needed = sum(count_parameters(folder) for folder in folders) * itemsize / 2**30
    if available is None:
        available = torch.cuda.mem_get_info(device)[0] / 2**30 if device.type == "cuda" else available_gib()
    if available is not None and needed > available:
        raise SpeakerError(
            f"The weights take {needed:.2g} GiB, and {available:.2g} GiB are free on {device.type}. "
            f"{'--dtype bfloat16 takes half of it. ' if itemsize == 4 else ''}Take a smaller model, or another --device."
        )


def _load_model(
    folder: Path, number_format: torch.dtype, device: torch.device, quantize: Quantize
) -> tuple[Any, PreTrainedTokenizerBase]:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from wmkml.training.base_model import BaseMissingError, quantization_of

    logging.disable_progress_bar()
    options: dict[str, Any] = {"dtype": number_format}
    try:
        if quantize != UNQUANTIZED:
            options |= {"quantization_config": quantization_of(quantize), "device_map": {"": device}}
        tokenizer = load_tokenizer(folder, needs_template=False)
        with no_garbage_collection():  # it imports what this model needs
            network = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, **options)
    except BaseMissingError as error:
        raise SpeakerError(str(error)) from None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SpeakerError(f"{folder} cannot be loaded: {reason}") from None
    network.requires_grad_(False)
    return (network.to(device) if quantize == UNQUANTIZED else network).eval(), tokenizer


def _add_adapter(network: Any, folder: Path, name: str) -> Any:
    from peft import PeftModel

    options = {"is_trainable": False, "autocast_adapter_dtype": False}
    try:
        if isinstance(network, PeftModel):
            network.load_adapter(str(folder), name, **options)
        else:
            network = PeftModel.from_pretrained(network, str(folder), name, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SpeakerError(f"{folder} cannot be loaded as an adapter of this model: {reason}") from None
    # PEFT keeps an adapter's numbers as they were written; the model's own may be smaller.
    return network.to(network.device).to(next(network.base_model.parameters()).dtype).eval()


def _shared_template(adapters: Sequence[Path | None], template: str) -> Path | None:
    """The folder whose template an untaught model takes: that of the first adapter beside it which has one."""
    if template != AUTO:
        return None
    return next((folder for folder in adapters if folder is not None and has_template(folder)), None)


def _with_template(
    tokenizer: PreTrainedTokenizerBase, source: SpeakerSource, name: str, shared: Path | None
) -> tuple[PreTrainedTokenizerBase, DialogueTemplate | None]:
    """A tokenizer of its own for each speaker, since the template is part of it."""
    own = copy.copy(tokenizer)
    folders = [
        folder for folder in (source.adapter, source.model, shared) if folder is not None and has_template(folder)
    ]
    try:
        if name == NONE:
            return own, None
        if name != AUTO:
            chosen = find_template(name, own)
        elif folders:
            chosen = load_template(folders[0])
        elif own.chat_template:
            chosen = find_template(AUTO, own)
        else:
            return own, None
    except TemplateError as error:
        raise SpeakerError(str(error)) from None
    if chosen.name == NONE:  # taught with passages: asked with the very tokens of one
        return own, None
    use_template(own, chosen)
    return own, chosen


def template_choices() -> str:
    """The names of templates, for a help text."""
    return ", ".join([AUTO, NONE, "chat", *NAMED])


def print_loading(sentence: str) -> None:
    """Say on standard error what is being loaded."""
    print(sentence, file=sys.stderr, flush=True)
