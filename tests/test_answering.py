"""Answers whose iteration goes away at the worst moments, with a real engine and without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.engine_fixtures import RANK, make_adapter, make_model
from wmkml.config import Settings
from wmkml.engine.setup import EngineSetup
from wmkml.engine.transformers_engine import TransformersEngine
from wmkml.inference.answering import Answering
from wmkml.inference.metrics import Metrics
from wmkml.inference.refusals import Refused
from wmkml.inference.shelf import Shelf, end_answers
from wmkml.inference.turns import Turns
from wmkml.osc import OscSender
from wmkml.prompting import load_tokenizer
from wmkml.wire import ChatMessage, CompletionRequest

SECONDS = 60.0
"""Whoever waits longer waits for ever."""


@dataclass
class House:
    """What answers, with one adapter loaded as iteration 0."""

    answering: Answering
    shelf: Shelf

    def asked(self) -> CompletionRequest:
        messages = [ChatMessage(role="user", content="Hallo")]
        return CompletionRequest(messages=messages, model="iteration-0", max_tokens=8, n=2)


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    model = make_model(tmp_path / "model")
    engine = TransformersEngine(EngineSetup(model, adapters=2, rank=RANK, dtype="float32"))
    await engine.start()
    shelf = Shelf(engine, tmp_path / "serving")
    await shelf.load(make_adapter(model, tmp_path / "adapter"), 0)
    osc = OscSender([])
    yield House(Answering(Settings(), engine, load_tokenizer(model), shelf, osc, Metrics(), Turns(4, 1)), shelf)
    osc.close()
    await engine.stop()


@pytest.mark.asyncio
async def test_an_iteration_unloaded_after_it_was_chosen_is_not_answered_by_the_base_model(house: House) -> None:
    prepared = house.answering.prepare(house.asked())
    await house.shelf.unload(None)
    with pytest.raises(Refused, match="unloaded"):
        await asyncio.wait_for(anext(house.answering.pieces(prepared)), SECONDS)


@pytest.mark.asyncio
async def test_an_answer_ended_before_its_first_step_is_told_to_have_ended(house: House) -> None:
    prepared = house.answering.prepare(house.asked())
    waiting = asyncio.ensure_future(anext(house.answering.pieces(prepared)))
    await asyncio.sleep(0)
    assert len(prepared.entry.answers) == 2
    await end_answers([prepared.entry])
    with pytest.raises(Refused, match="unloaded"):
        await asyncio.wait_for(waiting, SECONDS)
    assert prepared.entry.users == 0


@pytest.mark.asyncio
async def test_an_answer_that_fails_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> float:
        raise ArithmeticError("nobody foresaw this")

    monkeypatch.setattr("wmkml.inference.answering.entropy", broken)
    with pytest.raises(ArithmeticError):
        await asyncio.wait_for(anext(house.answering.pieces(house.answering.prepare(house.asked()))), SECONDS)
