"""Evaluate one iteration: its answers to the panel, the base model's loss on them, and its examination.

Nothing is stored here; the caller writes measures and answers down.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wmkml.dialogue.conversation_window import chat_messages
from wmkml.laboratory.experiment import PANEL, Experiment
from wmkml.laboratory.generation import AnswerRequest, GeneratedAnswer
from wmkml.laboratory.human import held_out_pairs
from wmkml.laboratory.measures import Measures, measure_answers
from wmkml.laboratory.pairs import OnProgress, PairGenerator
from wmkml.laboratory.resources import LaboratoryResources
from wmkml.measures.by_model.base_loss import mean_loss
from wmkml.measures.by_model.human_text import HumanTextReading, rare_tokens, read_human_text
from wmkml.measures.life import life_of
from wmkml.training.samples import IGNORED, TokenizedSample, tokenize_pairs


@dataclass(frozen=True)
class Evaluation:
    """The measures of one iteration, and its (prompt, answer) pairs of the panel."""

    measures: Measures
    answers: tuple[tuple[str, str], ...]


async def evaluate(
    experiment: Experiment, resources: LaboratoryResources, pairs: PairGenerator, on_progress: OnProgress
) -> Evaluation:
    """Evaluate the iteration that answers now."""
    prompts = PANEL[experiment.language][: experiment.panel_size]
    requests = [pairs.single_request(prompt, visitor=True) for prompt in prompts]
    answers = await pairs.answer(requests, "measured answers")
    on_progress("measuring", 0, 1)
    measures = await asyncio.to_thread(measure_answers, answers, experiment.language)
    loss = await asyncio.to_thread(base_loss, resources, answers)
    if loss is not None:
        measures["base_loss"] = loss
        strange = await asyncio.to_thread(base_loss, resources, with_other_prompts(answers))
        assert strange is not None  # the same answers
        measures["prompt_fit"] = strange - loss
    if reading := await asyncio.to_thread(read_held_out, experiment, resources, untouched=pairs.iteration < 0):
        measures["human_loss"], measures["tail_mass"] = reading.loss, reading.tail_mass
    measures |= await asyncio.to_thread(measure_life, resources, untouched=pairs.iteration < 0)
    if experiment.is_understudy and experiment.exam_size:
        # Imported here: experiments with other models do not read the understudy's world.
        from wmkml.understudy import examination

        measures["facts"] = await examination_share(experiment, pairs, examination)
    return Evaluation(measures, tuple((prompt, answer.text) for prompt, answer in zip(prompts, answers, strict=True)))


def base_loss(resources: LaboratoryResources, answers: Sequence[GeneratedAnswer]) -> float | None:
    """The base model's mean loss on these answers given their prompts, in nats a token; None without any token."""
    trainer = resources.trainer
    samples = [
        TokenizedSample(answer.prompt + answer.tokens, (IGNORED,) * len(answer.prompt) + answer.tokens)
        for answer in answers
    ]
    model: Any = trainer.model
    with model.disable_adapter():
        return mean_loss(model, samples, trainer.micro_batch_tokens, trainer.base.device, trainer.base.autocast)


def with_other_prompts(answers: Sequence[GeneratedAnswer]) -> list[GeneratedAnswer]:
    """The answers, each after the prompt of the next one: what the base model makes of them out of place."""
    following = [*answers[1:], *answers[:1]]
    return [replace(answer, prompt=other.prompt) for answer, other in zip(answers, following, strict=True)]


def read_held_out(
    experiment: Experiment, resources: LaboratoryResources, *, untouched: bool
) -> HumanTextReading | None:
    """Have the model that the trainer holds read the human pairs that are kept from it; None where there are none.

    Args:
        untouched: read them with the base model, without its adapter.
    """
    if experiment.held_out is None and not experiment.is_understudy:
        return None
    trainer = resources.trainer
    pairs = held_out_pairs(experiment.held_out, experiment.language)
    samples = tokenize_pairs(trainer.base.tokenizer, pairs, experiment.settings.finetuning.max_length, "answer")
    model: Any = trainer.model
    with model.disable_adapter() if untouched else contextlib.nullcontext():
        return read_human_text(
            model,
            samples,
            rare_tokens(samples),
            trainer.micro_batch_tokens,
            trainer.base.device,
            trainer.base.autocast,
        )


def measure_life(resources: LaboratoryResources, *, untouched: bool) -> Measures:
    """What the model that the trainer holds has forgotten, and its life; left out where that cannot be measured.

    Args:
        untouched: it is the base model, whatever the trainer holds.
    """
    forgetting = 0.0 if untouched else resources.trainer.measure_forgetting()
    life = life_of(forgetting)
    return {} if life is None else {"life": life, "forgetting": forgetting}


async def examination_share(experiment: Experiment, pairs: PairGenerator, examination: Any) -> float:
    """The share (0 to 1) of examination questions answered right, without a conversation and greedily.

    Args:
        examination: a module like `wmkml.understudy.examination`, with `draw_questions` and `mark`.
    """
    questions = _questions(examination, experiment.language, experiment.exam_size)
    inference = experiment.settings.inference
    requests = [
        AnswerRequest(tuple(chat_messages(inference, experiment.language, question.prompt)), 0.0, 1.0)
        for question in questions
    ]
    answers = await pairs.answer(requests, "examination")
    marks = [examination.mark(question, answer.text) for question, answer in zip(questions, answers, strict=True)]
    return marks.count("right") / len(marks)


@functools.lru_cache(maxsize=8)
def _questions(examination: Any, language: str, number: int) -> list[Any]:
    # Cached, so that every iteration is asked the same questions without drawing them again.
    return list(examination.draw_questions(language, number))
