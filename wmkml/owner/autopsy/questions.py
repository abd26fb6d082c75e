"""Asks the selves of a run: all at once, so that an engine answers them in one batch with many adapters.

Nothing of it is stored, trained on, or sent to the stage: its audience is `autopsy`, which waits behind visitors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from wmkml.dialogue.conversation_window import chat_messages
from wmkml.owner.autopsy.selves import SelfStep, Selves
from wmkml.protocol.autopsy import (
    LIKELY_TOKENS,
    AutopsyAnswerEnd,
    AutopsyEnd,
    AutopsyNext,
    AutopsyRequest,
    AutopsySelves,
    AutopsyToken,
    NextTokens,
    NextTokensRequest,
)
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.inference import BASE_ITERATION, ChatMessage, CompletionRequest

FORCING_BIAS = 100.0
"""Has a token drawn whatever the others' logits are; its raw probability and rank are told as without it."""

AutopsyEvent = AutopsySelves | AutopsyToken | AutopsyAnswerEnd | AutopsyEnd


async def answers(selves: Selves, request: AutopsyRequest) -> AsyncGenerator[AutopsyEvent]:
    """Everybody's answers, token by token as they come; closing the iterator ends them all.

    Raises:
        RequestRefusedError: nobody can be asked, or this cannot be; before the first event.
    """
    about = await selves.about()
    asked = about.iterations if request.iterations is None else sorted(set(request.iterations))
    if not set(asked) <= set(about.iterations):
        known = ", ".join(map(str, about.iterations))
        raise RequestRefusedError(404, f"There is no such iteration to ask; there are: {known}.")
    completion = _completion(selves, about, request.prompt, request.language, request.answer_ids).model_copy(
        update={
            "max_tokens": selves.inference.max_tokens,
            "temperature": selves.visitor_temperature if request.temperature is None else request.temperature,
            "top_p": selves.inference.visitor_top_p,
            "frequency_penalty": selves.inference.frequency_penalty,
        }
    )
    queue: asyncio.Queue[AutopsyEvent | RequestRefusedError | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_answer(selves, iteration, completion, queue)) for iteration in asked]
    over = asyncio.gather(*tasks, return_exceptions=True)
    over.add_done_callback(lambda _: queue.put_nowait(None))
    answered, begun = 0, False
    try:
        while (event := await queue.get()) is not None:
            if isinstance(event, RequestRefusedError):
                raise event
            if not begun:
                begun = True
                yield about.model_copy(update={"iterations": asked})
            answered += isinstance(event, AutopsyAnswerEnd) and not event.trouble
            yield event
        for task in tasks:
            task.result()
        yield AutopsyEnd(answers=answered)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(
    selves: Selves,
    iteration: int,
    request: CompletionRequest,
    queue: asyncio.Queue[AutopsyEvent | RequestRefusedError | None],
) -> None:
    """Put one self's answer into the queue; a refusal before its first token is everybody's, a later one its own."""
    begun = False
    try:
        async with aclosing(selves.steps(iteration, request)) as steps:
            async for step in steps:
                begun = True
                if step.finish != "stop" or step.text:
                    queue.put_nowait(_token(iteration, step))
                if step.finish is not None:
                    queue.put_nowait(AutopsyAnswerEnd(iteration=iteration, finish=step.finish))
                    return
    except RequestRefusedError as refusal:
        ended = AutopsyAnswerEnd(iteration=iteration, finish=None, trouble=refusal.sentence)
        queue.put_nowait(ended if begun else refusal)


async def next_tokens(selves: Selves, request: NextTokensRequest) -> AutopsyNext:
    """What every self would say after these tokens, and how likely each finds what the base model would say.

    Raises:
        RequestRefusedError: nobody can be asked, or this cannot be.
    """
    about = await selves.about()
    completion = _completion(selves, about, request.prompt, request.language, request.answer_ids).model_copy(
        update={"max_tokens": 1, "temperature": 0.0, "top_p": 1.0, "frequency_penalty": 0.0}
    )
    base_step = await _first(selves, BASE_ITERATION, completion)
    forced = completion.model_copy(update={"logit_bias": {str(base_step.id): FORCING_BIAS}})
    others = [iteration for iteration in about.iterations if iteration != BASE_ITERATION]
    steps = await _first_of_all(selves, others, forced)
    base = next((token for token in base_step.likeliest if token.id == base_step.id), base_step.likeliest[0])
    everybody = zip([BASE_ITERATION, *others], [base_step, *steps], strict=True)
    return AutopsyNext(
        position=len(request.answer_ids),
        base=base,
        selves=[_next_tokens(iteration, step, base.id) for iteration, step in everybody],
    )


async def _first_of_all(selves: Selves, iterations: Sequence[int], request: CompletionRequest) -> list[SelfStep]:
    tasks = [asyncio.create_task(_first(selves, iteration, request)) for iteration in iterations]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first(selves: Selves, iteration: int, request: CompletionRequest) -> SelfStep:
    async with aclosing(selves.steps(iteration, request)) as steps:
        async for step in steps:
            return step
    raise RequestRefusedError(503, "The language model gave no answer; ask again in a moment.")


def _next_tokens(iteration: int, step: SelfStep, base_id: int) -> NextTokens:
    own = next((token.probability for token in step.likeliest if token.id == base_id), None)
    # In 16 bits several tokens are often equally likely: they share the better rank, where an engine counts them all.
    rank = step.rank if own is None else 1 + sum(token.probability > own for token in step.likeliest)
    return NextTokens(
        iteration=iteration,
        likeliest=list(step.likeliest),
        beyond=max(0.0, 1.0 - sum(token.probability for token in step.likeliest)),
        entropy=step.entropy,
        base_probability=step.probability,
        base_rank=rank,
    )


def _completion(
    selves: Selves, about: AutopsySelves, prompt: str, language: str | None, answer_ids: Sequence[int]
) -> CompletionRequest:
    language = about.language if language is None else language
    if language not in about.languages:
        raise RequestRefusedError(400, f"This language is not configured; there are: {', '.join(about.languages)}.")
    prompt = prompt.strip()
    if not prompt:
        raise RequestRefusedError(400, "The prompt is empty: write something.")
    messages = chat_messages(selves.inference, language, prompt)
    return CompletionRequest(
        messages=[ChatMessage.model_validate(message) for message in messages],
        answer_ids=list(answer_ids) or None,
        logprobs=True,
        top_logprobs=LIKELY_TOKENS,
        return_token_ids=True,
        audience="autopsy",
    )


def _token(iteration: int, step: SelfStep) -> AutopsyToken:
    return AutopsyToken(
        iteration=iteration,
        id=step.id,
        text=step.text,
        probability=step.probability,
        entropy=step.entropy,
        likeliest=list(step.likeliest),
    )
