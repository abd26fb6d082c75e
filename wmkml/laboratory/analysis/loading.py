"""Loads the models of an analysis, one base at a time with its adapters, after reckoning whether memory suffices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from wmkml.engine.setup import LONGEST_WINDOW, EngineSetup, ModelUnusableError
from wmkml.laboratory.analysis.next_token.scoring import LOGITS_BYTES
from wmkml.laboratory.analysis.sources import ModelSource, SourceError
from wmkml.models.devices import free_gib
from wmkml.training.base_model import count_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DType = Literal["auto", "float32", "bfloat16", "float16"]

LIBRARIES_BYTES = 2**29
"""What Python and the libraries take beside the model."""

DEFAULT_WINDOW = 2048
"""Tokens of a window at most, unless another is asked for: a model's own may be a hundred times as long."""


class MemoryShortError(ValueError):
    """A model does not fit into memory.  The message says what it needs, what there is, and what to change."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be asked.

    Attributes:
        model: of transformers, on `device`, in evaluation mode.
        prefix: the token before a document's first one: the tokenizer's BOS or, without one, its EOS.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    prefix: int

    def encode(self, text: str) -> list[int]:
        """A text's tokens without special ones."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def choose_dtype(name: DType, device: torch.device) -> torch.dtype:
    """The data type of the weights; `auto`: float32 on a CPU, else bfloat16."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def model_window(folder: Path) -> int:
    """The longest window of the model in `folder`, at most DEFAULT_WINDOW."""
    config = _setup(folder).config
    text = config.get("text_config") or config
    for key in ("max_position_embeddings", "n_positions", "n_ctx"):
        if text.get(key):
            return min(int(text[key]), DEFAULT_WINDOW)
    return min(LONGEST_WINDOW, DEFAULT_WINDOW)


def check_memory_of(
    sources: Sequence[ModelSource],
    device: torch.device,
    dtype: torch.dtype,
    *,
    tokens: int,
    cached_tokens: int = 0,
    available: float | None = None,
    parameters: int | None = None,
) -> None:
    """Check that each of these models fits into memory with what it computes, before any is loaded.

    Args:
        tokens: read at once, padding included.
        cached_tokens: whose keys and values are kept at once, over all sequences.
        available: GiB; None: asked of the device.
        parameters: of a model whose weights are not here yet; None: counted in their headers.

    Raises:
        MemoryShortError: one does not.
    """
    if available is None:
        available = free_gib(device)
    if available is None:
        return
    for folder in dict.fromkeys(source.folder for source in sources):
        parts = _needed_bytes(folder, dtype, tokens, cached_tokens, parameters)
        needed = sum(parts.values()) / 2**30
        if needed > available:
            detail = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in parts.items())
            raise MemoryShortError(
                f"{folder.name} needs about {needed:.1f} GiB of memory ({detail}), and {available:.1f} are free on "
                f"{device.type}. Choose a smaller model, --dtype bfloat16, a smaller --window or --batch, or another --device."
            )


def check_memory_before_download(folder: Path, weight_bytes: int, device: torch.device, dtype: torch.dtype) -> None:
    """As `check_memory_of`, of a model of which nothing but the small files has been fetched.

    Args:
        weight_bytes: what its weights take on the hub.

    Raises:
        MemoryShortError: it would not fit, so that fetching it is of no use.
    """
    if not (folder / "config.json").is_file():
        return  # an adapter alone
    config = _setup(folder).config
    stored = getattr(torch, str(config.get("torch_dtype") or config.get("dtype")), torch.float32)
    # Quantized weights are packed: as for a type that is not named, the fewest parameters there may be.
    if not isinstance(stored, torch.dtype) or "quantization_config" in config:
        stored = torch.float32
    source = ModelSource(folder.name, folder)
    check_memory_of([source], device, dtype, tokens=DEFAULT_WINDOW, parameters=weight_bytes // stored.itemsize)


def _needed_bytes(
    folder: Path, dtype: torch.dtype, tokens: int, cached_tokens: int, parameters: int | None
) -> dict[str, float]:
    """Reckoned from the model's config and the headers of its weights."""
    config = _setup(folder).config
    config = config.get("text_config") or config
    size = dtype.itemsize
    hidden = int(config.get("hidden_size") or config.get("n_embd") or 1024)
    layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 1)
    inner = int(config.get("intermediate_size") or 4 * hidden)
    heads = int(config.get("num_attention_heads") or config.get("n_head") or 1)
    head = int(config.get("head_dim") or hidden // heads)
    cached = 2 * layers * int(config.get("num_key_value_heads") or heads) * head * size
    vocabulary = int(config.get("vocab_size") or 0)
    return {
        "weights": float((count_parameters(folder) if parameters is None else parameters) * size),
        "cache": float(cached * max(cached_tokens, tokens)),
        "activations": float(tokens * (4 * hidden + 3 * inner) * size),
        "logits": float(max(5 * LOGITS_BYTES, 5 * 4 * vocabulary)),
        "sums": float(24 * 8 * vocabulary),
        "libraries": float(LIBRARIES_BYTES),
    }


def _setup(folder: Path) -> EngineSetup:
    return EngineSetup(model=folder, adapters=1, rank=1)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' own progress bars and notices."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()


def loaded_models(
    sources: Sequence[ModelSource], device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[ModelSource, LoadedModel]]:
    """Each model in turn; consecutive ones with the same base share its weights.

    Raises:
        SourceError: a model or an adapter cannot be loaded.
    """
    from peft import PeftModel

    for folder, group in groupby(sources, key=lambda source: source.folder):
        base, tokenizer = _load_base(folder, device, dtype)
        prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if prefix is None:
            raise SourceError(
                f"{folder}: its tokenizer has neither BOS nor EOS, so no text's first token is predicted."
            )
        for source in group:
            if source.adapter is None:
                yield source, LoadedModel(base, tokenizer, device, int(prefix))
                continue
            try:
                with quiet_transformers():
                    adapted = PeftModel.from_pretrained(base, str(source.adapter)).eval()
            except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
                raise SourceError(
                    f"{source.adapter}: the adapter does not fit {folder}: {str(error).splitlines()[0]}"
                ) from None
            yield source, LoadedModel(adapted, tokenizer, device, int(prefix))
            base = adapted.unload()


def _load_base(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, PreTrainedTokenizerBase]:
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
            return model.to(device).eval(), load_any_tokenizer(folder)
    except ModelUnusableError as error:
        raise SourceError(str(error)) from None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise SourceError(f"{folder}: the model cannot be loaded: {str(error).splitlines()[0]}") from None


def load_any_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, with or without a chat template."""
    from transformers import AutoTokenizer

    from wmkml.dialogue.chat_template import load_tokenizer

    try:
        return load_tokenizer(folder)
    except ValueError:
        # A model that was never taught to converse has no template.
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return tokenizer
