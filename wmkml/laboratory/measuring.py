"""Measuring one iteration: it answers the measured prompts, is read by the base model, and is examined.

Asks through the run's pairs and stores nothing; writing numbers and answers down is the life's business.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wmkml.collapse.model import mean_loss
from wmkml.conversation import messages
from wmkml.laboratory.bench import Bench
from wmkml.laboratory.experiment import MEASURED, Experiment
from wmkml.laboratory.measures import Measures, measured
from wmkml.laboratory.pairs import Pairs, Told
from wmkml.laboratory.speaking import Answer, Asked
from wmkml.training.samples import IGNORED, Tokens


@dataclass(frozen=True)
class Reading:
    """What one iteration said to the measured prompts, and what was measured of it."""

    measures: Measures
    said: tuple[tuple[str, str], ...]
    """Prompt and answer."""


async def measure(experiment: Experiment, bench: Bench, pairs: Pairs, told: Told) -> Reading:
    """Read the iteration that answers now."""
    prompts = MEASURED[experiment.language][: experiment.measured]
    answers = await pairs.answers([pairs.alone(prompt, visitor=True) for prompt in prompts], "measured answers")
    told("measuring", 0, 1)
    found = await asyncio.to_thread(measured, answers, experiment.language)
    loss = await asyncio.to_thread(base_loss, bench, answers)
    if loss is not None:
        found["base_loss"] = loss
    if experiment.of_understudy and experiment.examined:
        # The understudy's own; no other model's measuring reads its world.
        from wmkml.understudy import examination

        found["facts"] = await facts(experiment, pairs, examination)
    return Reading(found, tuple((prompt, answer.text) for prompt, answer in zip(prompts, answers, strict=True)))


def base_loss(bench: Bench, answers: Sequence[Answer]) -> float | None:
    """How unlikely the untouched model finds these answers to the same prompts, in nats a token."""
    trainer = bench.trainer
    samples = [
        Tokens(answer.prompt + answer.tokens, (IGNORED,) * len(answer.prompt) + answer.tokens) for answer in answers
    ]
    model: Any = trainer.model
    with model.disable_adapter():
        return mean_loss(model, samples, trainer.micro_batch_tokens, trainer.base.device, trainer.base.autocast)


async def facts(experiment: Experiment, pairs: Pairs, examination: Any) -> float:
    """The share of an examination that is right, asked without a window and answered greedily.

    Args:
        examination: a module like `wmkml.understudy.examination`, with `questions` and `mark`.
    """
    asked = _questions(examination, experiment.language, experiment.examined)
    inference = experiment.settings.inference
    answers = await pairs.answers(
        [Asked(tuple(messages(inference, experiment.language, one.prompt)), 0.0, 1.0) for one in asked], "examination"
    )
    marks = [examination.mark(question, answer.text) for question, answer in zip(asked, answers, strict=True)]
    return marks.count("right") / len(marks)


@functools.lru_cache(maxsize=8)
def _questions(examination: Any, language: str, number: int) -> list[Any]:
    # The same ones for every iteration.
    return list(examination.questions(language, number))
