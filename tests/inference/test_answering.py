"""Answers whose iteration is unloaded in the middle of them, with a real engine and without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.engine.random_model import RANK, make_adapter, make_model
from wmkml.config import Settings
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.engine.protocol import Generation, GenerationRefusedError, Step
from wmkml.engine.setup import EngineSetup
from wmkml.engine.text import Detokenizer
from wmkml.engine.transformers_engine import TransformersEngine
from wmkml.inference.adapter_registry import AdapterRegistry, cancel_answers
from wmkml.inference.admission import Admission
from wmkml.inference.answering import Answering
from wmkml.inference.main import background_answers
from wmkml.inference.metrics import Metrics
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.inference import Audience, ChatMessage, CompletionRequest
from wmkml.protocol.osc import OscSender

SECONDS = 60.0
"""Limit for one piece of an answer, in seconds; a piece that takes longer never comes."""


@dataclass
class LoadedAnswering:
    """The answering part of inference, with one adapter loaded as iteration 0."""

    answering: Answering
    registry: AdapterRegistry

    def request(self) -> CompletionRequest:
        messages = [ChatMessage(role="user", content="Hallo")]
        return CompletionRequest(messages=messages, model="iteration-0", max_tokens=8, n=2)


@pytest_asyncio.fixture
async def loaded(tmp_path: Path) -> AsyncIterator[LoadedAnswering]:
    model = make_model(tmp_path / "model")
    engine = TransformersEngine(EngineSetup(model, adapters=2, rank=RANK, dtype="float32"))
    await engine.start()
    registry = AdapterRegistry(engine, tmp_path / "serving")
    await registry.load(make_adapter(model, tmp_path / "adapter"), 0)
    osc = OscSender([])
    yield LoadedAnswering(
        Answering(Settings(), engine, load_tokenizer(model), registry, osc, Metrics(), Admission(4, 1)), registry
    )
    osc.close()
    await engine.stop()


@pytest.mark.asyncio
async def test_an_iteration_unloaded_after_it_was_chosen_is_not_answered_by_the_base_model(
    loaded: LoadedAnswering,
) -> None:
    prepared = loaded.answering.prepare(loaded.request())
    await loaded.registry.unload(None)
    with pytest.raises(RequestRefusedError, match="unloaded"):
        await asyncio.wait_for(anext(loaded.answering.pieces(prepared)), SECONDS)


@pytest.mark.asyncio
async def test_an_answer_ended_before_its_first_step_is_told_to_have_ended(loaded: LoadedAnswering) -> None:
    prepared = loaded.answering.prepare(loaded.request())
    waiting = asyncio.ensure_future(anext(loaded.answering.pieces(prepared)))
    await asyncio.sleep(0)
    assert len(prepared.entry.answers) == 2
    await cancel_answers([prepared.entry])
    with pytest.raises(RequestRefusedError, match="unloaded"):
        await asyncio.wait_for(waiting, SECONDS)
    assert prepared.entry.users == 0


@pytest.mark.asyncio
async def test_an_answer_that_fails_says_so(loaded: LoadedAnswering, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_detokenizer: Detokenizer, _token: int) -> str:
        raise ArithmeticError("nobody foresaw this")

    monkeypatch.setattr(Detokenizer, "push", broken)
    with pytest.raises(ArithmeticError):
        await asyncio.wait_for(anext(loaded.answering.pieces(loaded.answering.prepare(loaded.request()))), SECONDS)


@pytest.mark.asyncio
async def test_a_request_that_the_engine_refuses_is_refused(
    loaded: LoadedAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_engine: TransformersEngine, _generation: Generation) -> AsyncIterator[Step]:
        raise GenerationRefusedError("The deployment refuses this request (status 422).")
        yield  # so that it is a generator

    monkeypatch.setattr(TransformersEngine, "generate", refuse)
    with pytest.raises(RequestRefusedError, match="status 422") as refusal:
        await asyncio.wait_for(anext(loaded.answering.pieces(loaded.answering.prepare(loaded.request()))), SECONDS)
    assert (refusal.value.status, refusal.value.code) == (400, "engine_refuses")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("audience", "asked_for", "made"),
    [
        ("visitor", False, [True, False]),  # the first of them is what music and visuals hear
        ("visitor", True, [True, True]),
        ("echo", False, [False, False]),
        ("echo", True, [True, True]),
        ("dataset", False, [False, False]),
    ],
)
async def test_log_probabilities_are_made_for_who_sees_them_alone(
    loaded: LoadedAnswering, monkeypatch: pytest.MonkeyPatch, audience: Audience, asked_for: bool, made: list[bool]
) -> None:
    generate = TransformersEngine.generate
    seen: dict[int, bool] = {}

    def look(engine: TransformersEngine, generation: Generation) -> AsyncIterator[Step]:
        seen[len(seen)] = generation.with_logprobs
        return generate(engine, generation)

    monkeypatch.setattr(TransformersEngine, "generate", look)
    monkeypatch.setattr(loaded.answering._osc, "targets", [("127.0.0.1", 9)])
    request = loaded.request().model_copy(update={"audience": audience, "logprobs": asked_for})
    async for _ in loaded.answering.pieces(loaded.answering.prepare(request)):
        pass
    assert sorted(seen.values(), reverse=True) == made


@pytest.mark.parametrize(
    ("gpu", "engine", "configured", "answers"),
    [
        (False, "vllm", 0, 4),
        (True, "vllm", 0, 32),
        (False, "remote", 0, 32),
        (True, "vllm", 6, 6),
        (False, "vllm", 6, 6),
    ],
)
def test_so_many_background_answers_are_made_at_once(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, engine: str, configured: int, answers: int
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    inference = {"engine": engine, "max_background_seqs": configured, "url": "http://a" if engine == "remote" else ""}
    assert background_answers(Settings.model_validate({"inference": inference})) == answers
