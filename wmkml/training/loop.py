"""The loop: a model, tokenised samples and a recipe in; a trained model and its losses out.

One loop for every finetune, a round's LoRA included: it updates whatever parameters ask for gradients.  It knows no
adapter, no file and no round; whoever wants to follow or to stop it hands in a watcher.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.functional import cross_entropy

from wmkml.training.batching import micro_batches, padded, steps_of
from wmkml.training.optimizers import OptimizerName, fresh, rate_at, set_rate
from wmkml.training.samples import IGNORED, Tokens


class TrainingDropped(RuntimeError):
    """The watcher wished it to end.  The model is left somewhere on its way."""


class TrainingSpoiled(RuntimeError):
    """A loss or a gradient is not finite, or there is nothing to learn.  What the model holds must not be used."""


class MemoryExhausted(RuntimeError):
    """Not even one sample at a time fits the memory."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        learning_rate: of the first step; it falls linearly to zero.
        samples_per_step: how many samples one optimizer step learns from.
        micro_batch_tokens: how many tokens, padding included, go through the model at once.
        max_grad_norm: gradients are scaled down to this norm.
        seed: of the samples' order and of dropout.
        autocast: what matrix products are computed in; None: as the weights are.
    """

    learning_rate: float
    epochs: int
    samples_per_step: int
    micro_batch_tokens: int
    optimizer: OptimizerName = "auto"
    max_grad_norm: float = 1.0
    seed: int = 0
    autocast: torch.dtype | None = None


@dataclass(frozen=True)
class StepDone:
    """One optimizer step: `step` counts from 1; `loss` is the mean over the step's targets; `tokens` seen so far."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    tokens: int


@dataclass(frozen=True)
class Trained:
    """What a training was: one loss for each step, tokens seen, seconds, the clock (monotonic) after the last step.

    `micro_batch_tokens` is what fitted the memory in the end.
    """

    losses: tuple[float, ...]
    tokens: int
    seconds: float
    last_step_at: float
    micro_batch_tokens: int


class Watcher(Protocol):
    """Who follows a training; called from the thread that trains, and should be quick."""

    def proceed(self) -> bool:
        """Asked before every micro-batch; False drops the training."""
        ...

    def stepped(self, done: StepDone) -> None:
        """An optimizer step was made."""
        ...

    def noticed(self, sentence: str) -> None:
        """Something an operator should know happened."""
        ...


class Unwatched:
    """A watcher that lets everything go on."""

    def proceed(self) -> bool:
        """Always."""
        return True

    def stepped(self, done: StepDone) -> None:
        """Nobody asked."""

    def noticed(self, sentence: str) -> None:
        """Nobody asked."""


def train(model: torch.nn.Module, samples: Sequence[Tokens], recipe: Recipe, watcher: Watcher) -> Trained:
    """Train the model's parameters that require gradients, with a fresh optimizer, for the recipe's epochs.

    The loss of a step is the sum over its target tokens divided by their number, however it was split.

    Raises:
        TrainingDropped: the watcher said so.
        TrainingSpoiled: no samples, or a loss or gradient that is not finite.
        MemoryExhausted: out of memory with one sample at a time.
    """
    if not samples:
        raise TrainingSpoiled("No sample of this round holds anything to learn.")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = parameters[0].device
    optimizer = fresh(recipe.optimizer, parameters, device)
    plan = steps_of(len(samples), recipe.samples_per_step, recipe.epochs, recipe.seed)
    limit, seen, losses = recipe.micro_batch_tokens, 0, []
    torch.manual_seed(recipe.seed)
    model.train()
    began = last_step_at = time.monotonic()
    for number, indices in enumerate(plan):
        chosen = [samples[index] for index in indices]
        loss, limit = _gradients(model, chosen, limit, recipe, device, watcher)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            optimizer.zero_grad()
            raise TrainingSpoiled(
                f"Step {number + 1} of {len(plan)}: loss {loss}, gradient norm {norm}; the weights were not changed by it."
            )
        rate = rate_at(recipe.learning_rate, number, len(plan))
        set_rate(optimizer, rate)
        optimizer.step()
        optimizer.zero_grad()
        last_step_at = time.monotonic()
        seen += sum(len(sample.ids) for sample in chosen)
        losses.append(loss)
        watcher.stepped(StepDone(number + 1, len(plan), loss, rate, seen))
    return Trained(tuple(losses), seen, last_step_at - began, last_step_at, limit)


def _gradients(
    model: torch.nn.Module,
    samples: Sequence[Tokens],
    limit: int,
    recipe: Recipe,
    device: torch.device,
    watcher: Watcher,
) -> tuple[float, int]:
    """Leave one step's gradients in the parameters; returns its loss, and how many tokens fit the memory at once."""
    while True:
        batches = micro_batches(samples, limit)
        exhausted = _accumulate(model, batches, recipe, device, watcher)
        if isinstance(exhausted, float):
            return exhausted, limit
        # The step begins anew: the gradients gathered so far are of batches of the old size.
        model.zero_grad()
        if all(len(batch) == 1 for batch in batches):
            raise MemoryExhausted(
                f"Out of memory with a single sample of {exhausted} tokens. "
                "Lower finetuning.max_length, or train on a device with more memory."
            )
        if device.type == "cuda":
            torch.cuda.empty_cache()
        largest = max(len(batch) * len(batch[0].ids) for batch in batches)
        limit = max(1, min(limit, largest) // 2)
        watcher.noticed(f"Memory ran out in training: batches are halved to {limit} tokens at once.")


def _accumulate(
    model: torch.nn.Module, batches: list[list[Tokens]], recipe: Recipe, device: torch.device, watcher: Watcher
) -> float | int:
    """Gradients of all micro-batches together: the loss (a float), or the tokens (an int) with which memory ran out."""
    targets = sum(sample.targets for batch in batches for sample in batch)
    total = torch.zeros((), device=device)
    for batch in batches:
        if not watcher.proceed():
            raise TrainingDropped("The round was dropped.")
        try:
            ids, labels = padded(batch, device)
            with torch.autocast(device.type, dtype=recipe.autocast, enabled=recipe.autocast is not None):
                logits: torch.Tensor = _logits(model, ids)
            loss = _token_losses(logits, labels) / targets
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            # Returned instead of handled here: the exception's frames hold the tensors that filled the memory.
            return len(batch[0].ids)
    return float(total)


def _logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    output: Any = model(input_ids=ids, use_cache=False)
    logits: torch.Tensor = output.logits
    return logits


def _token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of the losses of all targets; each token is predicted by the one before it."""
    predicted = logits[:, :-1].float().flatten(0, 1)
    return cross_entropy(predicted, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")


def _is_out_of_memory(error: RuntimeError) -> bool:
    # A CPU's allocator has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
