"""An engine that hangs is told from one that is slow, and from one that has died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from wmkml.engine.protocol import EngineDiedError, Generation, Step
from wmkml.inference.engine_watch import until_it_fails


class EngineStandIn:
    """Answers a probe at once, hangs from `hangs_from` on, and dies when told to.  Stands for an engine's `generate` and `alive`."""

    def __init__(self, hangs_from: int = 10**9, dies_from: int = 10**9) -> None:
        self.probes, self._hangs_from, self._dies_from, self.dead = 0, hangs_from, dies_from, False

    def alive(self) -> bool:
        return not self.dead

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        assert generation.adapter is None and generation.sampling.max_tokens == 1
        self.probes += 1
        if self.probes >= self._dies_from:
            raise EngineDiedError
        if self.probes >= self._hangs_from:
            await asyncio.Event().wait()
        yield Step(0, 0.0, (), "length")


@pytest.mark.parametrize(
    ("engine", "reason"),
    [(EngineStandIn(hangs_from=3), "not answered for 0.2 s"), (EngineStandIn(dies_from=3), "died")],
)
async def test_an_engine_that_hangs_or_dies_is_given_up(engine: EngineStandIn, reason: str) -> None:
    assert reason in await asyncio.wait_for(until_it_fails(engine, probe_seconds=0.01, answer_seconds=0.2), 60)  # type: ignore[arg-type]
    assert engine.probes == 3


async def test_an_engine_that_answers_is_left_alone_until_it_dies() -> None:
    engine = EngineStandIn()
    watching = asyncio.create_task(until_it_fails(engine, probe_seconds=0.01, answer_seconds=0.2))  # type: ignore[arg-type]
    while engine.probes < 30:  # noqa: ASYNC110 - a stand-in sets no event
        await asyncio.sleep(0.01)
    assert not watching.done()
    engine.dead = True
    assert "died" in await asyncio.wait_for(watching, 60)
