"""What the routes that take prompts share: starting an answer, and translating its errors into HTTP refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from wmkml.owner.answers.chat import AnswersStoppedError, AnswerUnavailableError, ChatAnswer, ChatEvent, VisitorPrompt
from wmkml.owner.answers.conversations import SHARED_STATION
from wmkml.owner.answers.turns import TooManyPromptsError
from wmkml.owner.context import OwnerContext
from wmkml.owner.http.http_requests import checked_prompt, unstored_refusal
from wmkml.owner.inference.client import InferenceRefusedError
from wmkml.owner.installation import UnknownLanguageError
from wmkml.owner.opening.keeper import IN_PANIC
from wmkml.owner.run.live_run import RunOverError
from wmkml.protocol.base import RequestRefusedError
from wmkml.runs.database import NotStoredError


def start_answer(
    owner: OwnerContext,
    station: str,
    prompt: str,
    language: str | None,
    temperature: float | None,
    top_p: float | None,
) -> AsyncIterator[ChatEvent]:
    """Start to answer a visitor's prompt.

    Args:
        station: the conversation the prompt belongs to.
        language: the station's new language; none leaves it as it is.
        temperature, top_p: none takes the operator's override or the configured value.

    Returns:
        The answer's events.  Inference receives the prompt when the first one is requested.

    Raises:
        RequestRefusedError: 400 for an empty prompt or an unknown language, 409 while no run is under way, 503 while it is
            closed.
    """
    owner.opening.require_answers()
    prompt = checked_prompt(prompt)
    if language is not None and language not in owner.settings.languages:
        raise _unknown_language(owner)
    lifecycle = owner.require_lifecycle()
    if language is not None:
        lifecycle.run.choose_language(station, language)
    return owner.chat.ask(lifecycle.run, lifecycle.echoes, _visitor_prompt(owner, station, prompt, temperature, top_p))


async def answer_before_run(
    owner: OwnerContext, prompt: str, temperature: float | None, top_p: float | None
) -> ChatAnswer:
    """The base model's answer to a prompt that comes while no run is under way (`Chat.answer_before_run`).

    Raises:
        RequestRefusedError: 400 for an empty prompt, 503 while it is closed.
        The errors that `answer_errors_as_refusals` translates.
    """
    owner.opening.require_answers()
    question = _visitor_prompt(owner, SHARED_STATION, checked_prompt(prompt), temperature, top_p)
    return await owner.chat.answer_before_run(question)


def _visitor_prompt(
    owner: OwnerContext, station: str, prompt: str, temperature: float | None, top_p: float | None
) -> VisitorPrompt:
    """A checked prompt with its sampling; where it names none, the operator's override or the configured value."""
    return VisitorPrompt(
        station=station,
        prompt=prompt,
        temperature=owner.overrides.visitor_temperature if temperature is None else temperature,
        top_p=owner.settings.inference.visitor_top_p if top_p is None else top_p,
    )


@contextmanager
def answer_errors_as_refusals() -> Iterator[None]:
    """Within this context, errors of an answer are raised as `RequestRefusedError`."""
    try:
        yield
    except InferenceRefusedError as refusal:
        if refusal.code == "context_length_exceeded":
            raise RequestRefusedError(400, "The prompt is too long for the model: shorten it.") from None
        if refusal.code == "failed":
            raise RequestRefusedError(
                500, "The language model failed over this prompt; say it in another way."
            ) from None
        raise RequestRefusedError(400, "The language model refuses this prompt.") from None
    except AnswersStoppedError:
        raise RequestRefusedError(503, IN_PANIC) from None
    except AnswerUnavailableError as error:
        raise RequestRefusedError(503, str(error)) from None
    except TooManyPromptsError:
        raise RequestRefusedError(
            429, "Too many prompts of this station wait already; wait for their answers."
        ) from None
    except NotStoredError as trouble:
        raise unstored_refusal(trouble) from None
    except RunOverError:
        raise RequestRefusedError(409, "The run has ended; the language is reborn.") from None


@contextmanager
def language_error_as_refusal(owner: OwnerContext) -> Iterator[None]:
    """Within this context, `UnknownLanguageError` is raised as a refusal with status 400."""
    try:
        yield
    except UnknownLanguageError:
        raise _unknown_language(owner) from None


def _unknown_language(owner: OwnerContext) -> RequestRefusedError:
    return RequestRefusedError(
        400, f"This language is not configured; there are: {', '.join(owner.settings.languages)}."
    )
