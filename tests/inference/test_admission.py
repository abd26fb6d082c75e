"""Admission: visitors' requests begin first; background requests begin a few at a time, and only while no visitor waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from wmkml.inference.admission import Admission


class FakeEngine:
    """Answers of two pieces; each piece is released by the test with `give`."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open: set[str] = set()
        self._go: dict[str, asyncio.Semaphore] = {}

    async def answer(self, name: str) -> AsyncGenerator[str]:
        self.begun.append(name)
        self.open.add(name)
        try:
            for number in range(2):
                await self._go.setdefault(name, asyncio.Semaphore(0)).acquire()
                yield f"{name}{number}"
        finally:
            self.open.discard(name)

    async def give(self, name: str) -> None:
        self._go.setdefault(name, asyncio.Semaphore(0)).release()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def drained(pieces: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in pieces]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


async def test_nothing_in_the_background_begins_while_somebody_waits(engine: FakeEngine) -> None:
    turns = Admission(4, 1)
    visitor = asyncio.create_task(drained(turns.admit_foreground(engine.answer("v"))))
    echo = asyncio.create_task(drained(turns.admit_background(engine.answer("e"))))
    await settle()
    assert engine.begun == ["v"]
    await engine.give("v")
    assert engine.begun == ["v", "e"]
    for name in "vee":
        await engine.give(name)
    assert (await visitor, await echo) == (["v0", "v1"], ["e0", "e1"])


async def test_prompts_of_the_background_are_read_one_after_another(engine: FakeEngine) -> None:
    turns = Admission(2, 1)
    echoes = [asyncio.create_task(drained(turns.admit_background(engine.answer(name)))) for name in "abc"]
    await settle()
    assert engine.begun == ["a"]
    await engine.give("a")
    assert engine.begun == ["a", "b"]
    await engine.give("b")
    assert engine.begun == ["a", "b"], "two are made at the same time, no third"
    await engine.give("a")
    assert engine.begun == ["a", "b", "c"]
    for name in "bcc":
        await engine.give(name)
    assert await asyncio.gather(*echoes) == [["a0", "a1"], ["b0", "b1"], ["c0", "c1"]]


@pytest.mark.parametrize("given", [0, 1])
async def test_whoever_leaves_holds_up_nobody(engine: FakeEngine, given: int) -> None:
    turns = Admission(1, 1)
    leaving = [
        asyncio.create_task(drained(turns.admit_foreground(engine.answer("v")))),
        asyncio.create_task(drained(turns.admit_background(engine.answer("e")))),
    ]
    await settle()
    for _ in range(given):
        await engine.give("v")
        await engine.give("e")
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    await settle()
    assert not engine.open
    other = asyncio.create_task(drained(turns.admit_background(engine.answer("f"))))
    for _ in range(2):
        await engine.give("f")
    assert await other == ["f0", "f1"]


async def test_an_answer_without_a_piece_ends(engine: FakeEngine) -> None:
    async def silent() -> AsyncGenerator[str]:
        for piece in list[str]():
            yield piece

    turns = Admission(1, 1)
    assert await drained(turns.admit_background(silent())) == await drained(turns.admit_foreground(silent())) == []
    visitor = asyncio.create_task(drained(turns.admit_foreground(engine.answer("v"))))
    await engine.give("v")
    await engine.give("v")
    assert await visitor == ["v0", "v1"]


async def test_measured_answers_begin_when_nobody_else_waits(engine: FakeEngine) -> None:
    turns = Admission(2, 1)
    measured = [asyncio.create_task(drained(turns.admit_measured(engine.answer(name)))) for name in "mn"]
    await settle()
    assert engine.begun == ["m"], "one at a time"
    await engine.give("m")
    others = [asyncio.create_task(drained(turns.admit_background(engine.answer(name)))) for name in "abc"]
    await settle()
    assert engine.begun == ["m", "a"]
    await engine.give("m")
    await engine.give("a")
    assert engine.begun == ["m", "a", "b"], "m is done, and n waits for b and c"
    visitor = asyncio.create_task(drained(turns.admit_foreground(engine.answer("v"))))
    await engine.give("b")
    await engine.give("a")
    assert engine.begun == ["m", "a", "b", "v"]
    await engine.give("v")
    assert engine.begun == ["m", "a", "b", "v", "c"]
    await engine.give("c")
    assert engine.begun == ["m", "a", "b", "v", "c", "n"], "now nobody waits, though b, c and v are under way"
    for name in "bcvnn":
        await engine.give(name)
    assert await asyncio.gather(*others, visitor) == [["a0", "a1"], ["b0", "b1"], ["c0", "c1"], ["v0", "v1"]]
    assert await asyncio.gather(*measured) == [["m0", "m1"], ["n0", "n1"]]


async def test_measured_answers_that_are_given_up_hold_up_nobody(engine: FakeEngine) -> None:
    turns = Admission(1, 1)
    echo = asyncio.create_task(drained(turns.admit_background(engine.answer("e"))))
    waiting = asyncio.create_task(drained(turns.admit_background(engine.answer("f"))))
    measured = asyncio.create_task(drained(turns.admit_measured(engine.answer("m"))))
    await settle()
    for task in (waiting, echo):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await settle()
    assert engine.begun == ["e", "m"]
    measured.cancel()
    await asyncio.gather(measured, return_exceptions=True)
    last = asyncio.create_task(drained(turns.admit_measured(engine.answer("n"))))
    await settle()
    await engine.give("n")
    await engine.give("n")
    assert await last == ["n0", "n1"]
