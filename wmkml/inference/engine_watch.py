"""Watches a running engine: whether it lives, and whether it still answers.

An engine can hang without dying: its process is stopped, or waits for a GPU that fell off the bus.  So it is asked for one
token of the base model now and then, before all others.
"""

from __future__ import annotations

import asyncio
import itertools

from wmkml.engine.protocol import Engine, EngineDiedError, Generation, Sampling

ALIVE_SECONDS = 0.25
"""Seconds between two checks whether the engine is alive."""

PROBE_SECONDS = 15.0
"""Seconds between two probes."""

ANSWER_SECONDS = 60.0
"""An engine that does not answer a probe within this time hangs.  On two busy cores a token takes a few seconds."""

PROBE_TOKENS = (0, 1, 2)
"""Token ids of every vocabulary."""


async def until_it_fails(
    engine: Engine, *, probe_seconds: float = PROBE_SECONDS, answer_seconds: float = ANSWER_SECONDS
) -> str:
    """Return once the engine has died or hangs: what is wrong with it, as a sentence."""
    probing = asyncio.create_task(_until_it_hangs(engine, probe_seconds, answer_seconds))
    try:
        while engine.alive():
            if probing.done():
                return await probing
            await asyncio.sleep(ALIVE_SECONDS)
        return "The engine has died."
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)


async def _until_it_hangs(engine: Engine, probe_seconds: float, answer_seconds: float) -> str:
    for number in itertools.count():
        await asyncio.sleep(probe_seconds)
        generation = Generation(
            f"probe-{number}", PROBE_TOKENS, Sampling(0.0, max_tokens=1), priority=-1, with_logprobs=False
        )
        try:
            async with asyncio.timeout(answer_seconds):
                async for _step in engine.generate(generation):
                    pass
        except TimeoutError:
            return f"The engine has not answered for {answer_seconds:g} s."
        except EngineDiedError:
            return "The engine has died."
    raise AssertionError("unreachable")
