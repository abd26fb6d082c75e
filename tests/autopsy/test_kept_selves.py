"""The selves of a kept run in an engine of this process, compared with plain forward passes of the same weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio
import torch

from tests.engine.random_model import RANK, TARGETS, make_adapter, make_model
from wmkml.autopsy.kept_run import KeptRun
from wmkml.autopsy.kept_selves import KeptSelves, kept_selves
from wmkml.config import load_settings
from wmkml.dialogue.chat_template import load_tokenizer, prompt_ids
from wmkml.dialogue.conversation_window import chat_messages
from wmkml.owner.autopsy.questions import answers, next_tokens
from wmkml.protocol.autopsy import AutopsyAnswerEnd, AutopsyEnd, AutopsyRequest, AutopsyToken, NextTokensRequest
from wmkml.protocol.base import RequestRefusedError

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT = "Was ist Liebe?"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> KeptRun:
    folder = tmp_path_factory.mktemp("run")
    model = make_model(folder / "model")
    overrides = {"inference.dtype": "float32", "finetuning.lora_r": RANK, "finetuning.lora_target_modules": TARGETS}
    settings = load_settings(None, model=str(model), overrides=overrides)
    adapters = {number: make_adapter(model, folder / f"adapter-{number}", seed=number) for number in (0, 1, 3)}
    return KeptRun("run", "de", settings, model, adapters)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def selves(run: KeptRun) -> AsyncIterator[KeptSelves]:
    async with kept_selves(run, "transformers", lambda what: None, gpus=False) as selves:
        yield selves


def next_probabilities(run: KeptRun, iteration: int, answer_ids: list[int]) -> torch.Tensor:
    """Of every token after the prompt and these, by one forward pass of transformers and PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(run.model, dtype=torch.float32).eval()
    if iteration >= 0:
        model = PeftModel.from_pretrained(model, str(run.adapters[iteration])).eval()
    messages = chat_messages(run.settings.inference, run.language, PROMPT)
    ids = [*prompt_ids(load_tokenizer(run.model), messages), *answer_ids]
    with torch.no_grad():
        return torch.softmax(model(torch.tensor([ids])).logits[0, -1], dim=-1)


async def test_next_tokens_are_those_of_a_forward_pass(run: KeptRun, selves: KeptSelves) -> None:
    ranks = []
    for answer_ids in ([], [17, 30], [40, 41, 42, 43]):
        reply = await next_tokens(selves, NextTokensRequest(prompt=PROMPT, answer_ids=answer_ids))
        assert reply.position == len(answer_ids)
        assert [self_.iteration for self_ in reply.selves] == [-1, 0, 1, 3]
        base_id = int(next_probabilities(run, -1, answer_ids).argmax())
        assert reply.base.id == base_id
        for self_ in reply.selves:
            expected = next_probabilities(run, self_.iteration, answer_ids)
            top = torch.topk(expected, 20)
            assert [token.id for token in self_.likeliest] == top.indices.tolist()
            assert [token.probability for token in self_.likeliest] == pytest.approx(top.values.tolist(), abs=1e-4)
            assert self_.beyond == pytest.approx(1 - float(top.values.sum()), abs=1e-4)
            shares = torch.cat([top.values, (1 - top.values.sum())[None]])
            assert self_.entropy == pytest.approx(-float((shares * shares.log()).sum()), abs=1e-3)
            assert self_.base_probability == pytest.approx(float(expected[base_id]), abs=1e-5)
            assert self_.base_rank == int((expected >= expected[base_id]).sum())
            ranks.append(self_.base_rank)
    assert max(ranks) > 20, "also where it is not among the likeliest"


async def test_a_fork_goes_on_from_the_taken_token(run: KeptRun, selves: KeptSelves) -> None:
    async def ask(iterations: list[int], answer_ids: list[int]) -> list[AutopsyToken]:
        request = AutopsyRequest(prompt=PROMPT, iterations=iterations, answer_ids=answer_ids, temperature=0)
        events = [event async for event in answers(selves, request)]
        assert isinstance(events[-1], AutopsyEnd)
        return [event for event in events if isinstance(event, AutopsyToken)]

    # Of the first iteration's answer, what the base model nearly said in the place of the second token.
    first = (await ask([0], []))[0].id
    reply = await next_tokens(selves, NextTokensRequest(prompt=PROMPT, answer_ids=[first]))
    taken = reply.selves[0].likeliest[1].id
    [token, *_] = await ask([3], [first, taken])
    own = next_probabilities(run, 3, [first, taken])
    assert token.probability == pytest.approx(float(own[token.id]), abs=1e-4)
    assert [likely.id for likely in token.likeliest] == torch.topk(own, 20).indices.tolist()


async def test_whoever_stops_listening_ends_every_answer(selves: KeptSelves) -> None:
    request = AutopsyRequest(prompt=PROMPT, answer_ids=[])
    before = asyncio.all_tasks()
    async with aclosing(answers(selves, request)) as events:
        async for event in events:
            if isinstance(event, AutopsyToken):
                break
        assert len(asyncio.all_tasks()) > len(before)
    assert asyncio.all_tasks() == before


async def test_what_breaks_off_is_its_own_selfs_trouble(selves: KeptSelves, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = KeptSelves.steps

    async def steps(self: KeptSelves, iteration: int, request: Any) -> AsyncIterator[Any]:
        async for step in whole(self, iteration, request):
            yield step
            if iteration == 1:
                raise RequestRefusedError(503, "It broke off.")

    monkeypatch.setattr(KeptSelves, "steps", steps)
    events = [event async for event in answers(selves, AutopsyRequest(prompt=PROMPT, answer_ids=[]))]
    troubles = {event.iteration: event.trouble for event in events if isinstance(event, AutopsyAnswerEnd)}
    assert troubles == {-1: "", 0: "", 1: "It broke off.", 3: ""}
    assert events[-1] == AutopsyEnd(answers=3)


async def test_what_cannot_be_asked_is_refused_before_the_first_event(selves: KeptSelves) -> None:
    for more in ({"answer_ids": [10**6]}, {"answer_ids": [5] * 600}, {"answer_ids": [], "prompt": "x" * 3000}):
        with pytest.raises(RequestRefusedError) as refused:
            await anext(answers(selves, AutopsyRequest(**({"prompt": PROMPT} | more))))
        assert refused.value.status == 400
