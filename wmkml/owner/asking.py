"""What the doors for prompts share: a checked question, its answer's first event, and refusals as HTTP has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from wmkml.owner.chat import Question, Said, Unavailable
from wmkml.owner.inference_client import Refused
from wmkml.owner.installation import UnknownLanguage
from wmkml.owner.live_run import RunOver
from wmkml.owner.parts import Owner
from wmkml.owner.reading import Refusing, speakable
from wmkml.wire import ChatStart


def asked(
    owner: Owner,
    station: str,
    prompt: str,
    language: str | None,
    temperature: float | None,
    top_p: float | None,
) -> AsyncIterator[Said]:
    """Begin to answer a prompt.

    Raises:
        Refusing: 400 for an empty prompt or a language nobody configured, 409 while no run is under way.
    """
    prompt = speakable(prompt)
    if language is not None and language not in owner.settings.languages:
        raise _unknown_language(owner)
    life, inference = owner.life(), owner.settings.inference
    if language is not None:
        life.run.choose_language(station, language)
    question = Question(
        station=station,
        prompt=prompt,
        temperature=owner.dials.visitor_temperature if temperature is None else temperature,
        top_p=inference.visitor_top_p if top_p is None else top_p,
    )
    return owner.chat.ask(life.run, life.echoes, question)


async def first_of(answer: AsyncIterator[Said]) -> ChatStart:
    """The start of an answer: from here on inference has taken the prompt.  Raises what `refused_answers` knows."""
    first = await anext(answer)
    assert isinstance(first, ChatStart)
    return first


@contextmanager
def refused_answers() -> Iterator[None]:
    """Turn what may go wrong with an answer into a refusal."""
    try:
        yield
    except Refused as refused:
        if refused.code == "context_length_exceeded":
            raise Refusing(400, "The prompt is too long for the model: shorten it.") from None
        if refused.code == "failed":
            raise Refusing(500, "The language model failed over this prompt; say it in another way.") from None
        raise Refusing(400, "The language model refuses this prompt.") from None
    except Unavailable as away:
        raise Refusing(503, str(away)) from None
    except RunOver:
        raise Refusing(409, "The run has ended; the language is reborn.") from None


@contextmanager
def refused_language(owner: Owner) -> Iterator[None]:
    """A language that nobody configured, as HTTP has it."""
    try:
        yield
    except UnknownLanguage:
        raise _unknown_language(owner) from None


def _unknown_language(owner: Owner) -> Refusing:
    return Refusing(400, f"This language is not configured; there are: {', '.join(owner.settings.languages)}.")
