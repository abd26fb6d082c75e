"""The training loop: a model, tokenized samples and a recipe in; a trained model and its losses out.

One loop for every finetune, including a round's LoRA: it updates all parameters that require gradients.  Callers
follow or stop it through a Watcher.  Several processes train together where a RankGroup is given (`wmkml.training.ranks`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from wmkml.training.batching import (
    StepPlan,
    micro_batches,
    pack_batch,
    packed_batches,
    pad_batch,
    shares_of,
    tokens_of,
)
from wmkml.training.kernels.document_attention import document_attention
from wmkml.training.loss import token_losses
from wmkml.training.optimizers import OptimizerName, decayed_rate, new_optimizer, set_rate
from wmkml.training.out_of_memory import is_out_of_memory
from wmkml.training.ranks.group import ALONE, RankGroup
from wmkml.training.samples import TokenizedSample

UNLIKE_WEIGHTS = 0.1
"""The most by which the weights of processes that train together may differ in the end, in learning rates: AdamW's first
step moves a weight by one."""


class TrainingDroppedError(RuntimeError):
    """The watcher stopped the training.  The model is left partly trained."""


class TrainingSpoiledError(RuntimeError):
    """A loss or a gradient is not finite, or there is nothing to learn.  The model's weights must not be used."""


class MemoryExhaustedError(RuntimeError):
    """Memory ran out with a single sample in the batch."""


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training.

    Attributes:
        learning_rate: of the first step; it falls linearly to zero.
        samples_per_step: samples per optimizer step.
        micro_batch_tokens: most tokens per forward pass, padding included.
        max_grad_norm: gradients are clipped to this norm.
        seed: of the sample order and of dropout.
        autocast: data type of the matrix products; None: that of the weights.
        packed: the samples of a micro-batch lie in one row without padding; for a model of transformers only.
    """

    learning_rate: float
    epochs: int
    samples_per_step: int
    micro_batch_tokens: int
    optimizer: OptimizerName = "auto"
    max_grad_norm: float = 1.0
    seed: int = 0
    autocast: torch.dtype | None = None
    packed: bool = False


@dataclass(frozen=True)
class OptimizerStep:
    """A finished optimizer step: `step` counts from 1, `loss` is the mean over its target tokens in nats.

    `tokens` is the total seen so far, padding not included.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    tokens: int


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training.

    Attributes:
        losses: one per optimizer step, in nats a token.
        tokens: seen in all epochs, padding not included.
        last_step_at: monotonic time after the last step, in seconds.
        micro_batch_tokens: the limit that fitted the memory in the end.
    """

    losses: tuple[float, ...]
    tokens: int
    seconds: float
    last_step_at: float
    micro_batch_tokens: int


@dataclass(frozen=True)
class TrainingState:
    """A training between two steps: with it, the same model, samples and recipe, it goes on as if never interrupted.

    Attributes:
        losses: of the steps that are done.
        tokens: seen so far, padding not included.
        micro_batch_tokens: as in `TrainingResult`.
        parameters: the trained ones, in the order of the model's.
        optimizer: its state dict.
        random: of the generators that dropout draws from: the CPU's, then the device's if it is another.
    """

    losses: tuple[float, ...]
    tokens: int
    micro_batch_tokens: int
    parameters: tuple[torch.Tensor, ...]
    optimizer: dict[str, Any]
    random: tuple[torch.Tensor, ...]


AfterStep = Callable[[OptimizerStep, Callable[[], TrainingState]], bool]
"""Called after every step with what captures the state; True ends the training there, with its result.

The model may be read in between, in evaluation mode, if no random number is drawn.
"""


class Watcher(Protocol):
    """Callbacks of a training, called from the thread that trains; they must return quickly."""

    def should_continue(self) -> bool:
        """Called before every micro-batch; False stops the training with TrainingDroppedError."""
        ...

    def on_step(self, step: OptimizerStep) -> None:
        """Called after every optimizer step."""
        ...

    def on_notice(self, sentence: str) -> None:
        """Called with a sentence for the operator."""
        ...


class NullWatcher:
    """A watcher that never stops the training and ignores everything."""

    def should_continue(self) -> bool:
        """Always true."""
        return True

    def on_step(self, step: OptimizerStep) -> None:
        """Ignored."""

    def on_notice(self, sentence: str) -> None:
        """Ignored."""


def train(
    model: torch.nn.Module,
    samples: Sequence[TokenizedSample],
    recipe: Recipe,
    watcher: Watcher,
    group: RankGroup = ALONE,
    *,
    start: TrainingState | None = None,
    after_step: AfterStep | None = None,
) -> TrainingResult:
    """Train the parameters that require gradients with a new optimizer, for the recipe's epochs.

    The loss of a step is the mean over its target tokens, however the step was split into micro-batches and ranks.

    Args:
        group: the processes that train together.  Each calls this with the same weights, samples and recipe, raises the
            same errors, and has the same weights and the same result afterwards.
        start: go on from there instead.

    Raises:
        TrainingDroppedError: the watcher stopped it.
        TrainingSpoiledError: no samples, a loss or gradient that is not finite, or ranks with unlike weights.
        MemoryExhaustedError: out of memory with one sample at a time.
    """
    if not samples:
        raise TrainingSpoiledError("No sample of this round holds anything to learn.")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = parameters[0].device
    optimizer = new_optimizer(recipe.optimizer, parameters, device)
    plan = StepPlan(len(samples), recipe.samples_per_step, recipe.epochs, recipe.seed)
    limit, seen, losses = recipe.micro_batch_tokens, 0, list[float]()
    # Each rank drops out others, for its samples are others; the samples' order is the same on all.
    torch.manual_seed(recipe.seed + group.rank)
    if start is not None:
        limit, seen, losses = start.micro_batch_tokens, start.tokens, list(start.losses)
        _restore(start, parameters, optimizer, device)

    def state() -> TrainingState:
        return TrainingState(
            tuple(losses),
            seen,
            limit,
            tuple(parameter.detach().cpu().clone() for parameter in parameters),
            optimizer.state_dict(),
            _random_states(device),
        )

    model.train()
    # A training that was dropped amid a step leaves the gradients of a part of it.
    model.zero_grad()
    began = last_step_at = time.monotonic()
    for number in range(len(losses), len(plan)):
        chosen = [samples[index] for index in plan[number]]
        with document_attention(model) if recipe.packed else nullcontext():
            loss, limit = _gradients(model, chosen, limit, recipe, device, watcher, group)
        group.sum_gradients(parameters)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            optimizer.zero_grad()
            raise TrainingSpoiledError(
                f"Step {number + 1} of {len(plan)}: loss {loss}, gradient norm {norm}; the weights were not changed by it."
            )
        rate = decayed_rate(recipe.learning_rate, number, len(plan))
        set_rate(optimizer, rate)
        optimizer.step()
        optimizer.zero_grad()
        last_step_at = time.monotonic()
        seen += sum(len(sample.ids) for sample in chosen)
        losses.append(loss)
        step = OptimizerStep(number + 1, len(plan), loss, rate, seen)
        watcher.on_step(step)
        if after_step is not None:
            if after_step(step, state):
                break
            model.train()
    # Every rank took the same steps; a last digit may differ where unlike devices round otherwise.
    difference = group.unify(parameters)
    if difference > UNLIKE_WEIGHTS * recipe.learning_rate:
        raise TrainingSpoiledError(
            f"The {group.size} processes that trained together came to unlike weights: they differ by {difference:.3g}."
        )
    return TrainingResult(tuple(losses), seen, last_step_at - began, last_step_at, limit)


def _random_states(device: torch.device) -> tuple[torch.Tensor, ...]:
    if device.type == "cuda":
        return torch.get_rng_state(), torch.cuda.get_rng_state(device)
    if device.type == "mps":
        return torch.get_rng_state(), torch.mps.get_rng_state()
    return (torch.get_rng_state(),)


def _restore(
    start: TrainingState,
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, start.parameters, strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(start.optimizer)
    torch.set_rng_state(start.random[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(start.random[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(start.random[1])


def _gradients(
    model: torch.nn.Module,
    samples: Sequence[TokenizedSample],
    limit: int,
    recipe: Recipe,
    device: torch.device,
    watcher: Watcher,
    group: RankGroup,
) -> tuple[float, int]:
    """Compute this rank's gradients of one step, all ranks halving the micro-batches while any runs out of memory.

    Returns:
        The loss of the whole step, and the limit used.
    """
    targets = sum(sample.targets for sample in samples)
    split = packed_batches if recipe.packed else micro_batches
    while True:
        of_ranks = [split(share, limit) for share in shares_of(samples, group.size)]
        part = _accumulate(model, group.own_batches(of_ranks), targets, recipe, device, watcher, group)
        dropped, exhausted_at = group.most(int(part.dropped), part.exhausted_at)
        if dropped:
            raise TrainingDroppedError("The round was dropped.")
        if not exhausted_at:
            return group.sum(part.loss), limit
        # Start the step over: the gradients accumulated so far cover only part of its samples.
        model.zero_grad()
        batches = [batch for batches in of_ranks for batch in batches]
        if all(len(batch) == 1 for batch in batches):
            raise MemoryExhaustedError(
                f"Out of memory with a single sample of {exhausted_at} tokens. "
                "Lower finetuning.max_length, or train on a device with more memory."
            )
        if device.type == "cuda":
            torch.cuda.empty_cache()
        largest = max(tokens_of(batch, recipe.packed) for batch in batches)
        limit = max(1, min(limit, largest) // 2)
        watcher.on_notice(f"Memory ran out in training: batches are halved to {limit} tokens at once.")


@dataclass(frozen=True)
class _Part:
    """What one rank made of its micro-batches of a step.

    Attributes:
        loss: its part of the step's.
        exhausted_at: the length in tokens of the longest sample of the batch that ran out of memory; 0: none did.
        dropped: the watcher stopped it.
    """

    loss: float = math.nan
    exhausted_at: int = 0
    dropped: bool = False


def _accumulate(
    model: torch.nn.Module,
    batches: list[list[TokenizedSample]],
    targets: int,
    recipe: Recipe,
    device: torch.device,
    watcher: Watcher,
    group: RankGroup,
) -> _Part:
    """Accumulate the gradients of this rank's micro-batches; `targets`: those of the whole step, by which it is divided."""
    total = torch.zeros((), device=device)
    for batch in batches:
        if not group.may_continue(watcher.should_continue()):
            return _Part(dropped=True)
        try:
            ids, labels, arguments = pack_batch(batch, device) if recipe.packed else (*pad_batch(batch, device), {})
            with torch.autocast(device.type, dtype=recipe.autocast, enabled=recipe.autocast is not None):
                logits: torch.Tensor = _logits(model, ids, **arguments)
            loss = token_losses(logits, labels, targets)
            # They are needed no more, and are the largest array of all.
            del logits
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        except (RuntimeError, MemoryError) as error:
            # In lockstep the others wait for this rank inside the model: it cannot start over, and its process ends.
            if group.lockstep or not is_out_of_memory(error):
                raise
            # Returned instead of handled here: the exception's frames hold the tensors that filled the memory.
            return _Part(exhausted_at=len(batch[0].ids))
    return _Part(float(total))


def _logits(model: torch.nn.Module, ids: torch.Tensor, **arguments: Any) -> torch.Tensor:
    output: Any = model(input_ids=ids, use_cache=False, **arguments)
    logits: torch.Tensor = output.logits
    return logits
