"""Evaluate one iteration: its answers to the measured prompts, what the base model makes of them, the panel, its examination.

Nothing is stored here; the caller writes measures and answers down.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Sequence
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
from wmkml.measures.panel.measuring import PromptAnswers, measure_panel, measure_words
from wmkml.training.samples import IGNORED, TokenizedSample, tokenize_pairs


@dataclass(frozen=True)
class Evaluation:
    """The measures of one iteration, and its answers to the measured prompts as (prompt, answer) pairs."""

    measures: Measures
    answers: tuple[tuple[str, str], ...]


async def evaluate(
    experiment: Experiment,
    resources: LaboratoryResources,
    pairs: PairGenerator,
    on_progress: OnProgress,
    on_prediction: Callable[[str], None],
) -> Evaluation:
    """Evaluate the iteration that answers now.

    Args:
        on_prediction: called with a sentence, before the untouched model is asked the panel: how long that will take.
    """
    prompts = PANEL[experiment.language][: experiment.panel_size]
    requests = [pairs.single_request(prompt, visitor=True) for prompt in prompts]
    began = time.monotonic()
    answers = await pairs.answer(requests, "measured answers")
    if experiment.panel_answers and pairs.iteration < 0:
        on_prediction(panel_prediction(experiment, (time.monotonic() - began) / len(answers)))
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
    measures |= await measure_iteration_panel(experiment, pairs, on_progress)
    if experiment.is_understudy and experiment.exam_size:
        # Imported here: experiments with other models do not read the understudy's world.
        from wmkml.understudy import examination

        measures["facts"] = await examination_share(experiment, pairs, examination)
    return Evaluation(measures, tuple((prompt, answer.text) for prompt, answer in zip(prompts, answers, strict=True)))


def panel_prediction(experiment: Experiment, seconds_per_answer: float) -> str:
    """How long the panel will take, if an answer takes so many seconds where many are made at the same time."""
    each = len(experiment.panel) * experiment.panel_answers
    iterations = experiment.rounds + 1
    minutes = each * iterations * seconds_per_answer / 60
    return (
        f"the panel: {len(experiment.panel)} prompts, {experiment.panel_answers} answers each, by {iterations} iterations: "
        f"about {each * seconds_per_answer:.0f} s an iteration, {minutes:.1f} min in all (--panel-answers 8 is the "
        "installation's panel, 0 none)"
    )


async def measure_iteration_panel(experiment: Experiment, pairs: PairGenerator, on_progress: OnProgress) -> Measures:
    """What the iteration that answers now makes of the panel, drawn as echoes are, as in the installation."""
    panel, number = experiment.panel, experiment.panel_answers
    if not panel:
        return {}
    requests = [pairs.single_request(prompt.text, visitor=False) for prompt in panel for _ in range(number)]
    answers = [answer.text for answer in await pairs.answer(requests, "panel")]
    asked = [
        PromptAnswers(tuple(answers[index * number : (index + 1) * number]), prompt.expected)
        for index, prompt in enumerate(panel)
    ]
    language, words = experiment.language, experiment.settings.inference.panel_words
    on_progress("measuring the panel", 0, 1)
    values = await asyncio.to_thread(measure_panel, asked, language, words, number)
    return values | await asyncio.to_thread(measure_words, asked, language, words)


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
