"""After an adapter is loaded, the engine is asked for its log-probabilities of the probe that came with it: does it use it?

Engines have been known to take an adapter, say that it is loaded, and answer without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.adapters.probe import Probe, ProbeBrokenError, Proof, judge, read_probe, unread, weakest
from wmkml.engine.protocol import Adapter, Engine, GenerationRefusedError, LogProbabilitiesUnavailableError

log = logging.getLogger(__name__)


class SwapProver:
    """Asks one engine; what its base model gives to the probe's text is asked once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._base_tokens: tuple[int, ...] = ()
        self._of_base: Sequence[Sequence[float]] = ()

    async def prove(self, adapter: Adapter) -> Proof | None:
        """Whether the engine uses an adapter that it has loaded; None where its trainer left no probe.

        Of several copies of the model the one with the weakest proof counts.

        Raises:
            AdapterRefusedError: the adapter's probe cannot be read, or the engine does not read it, or does not use the
                adapter.
            EngineDiedError: the engine is dead, or dies under way.
        """
        try:
            probe = await asyncio.to_thread(read_probe, adapter.path)
        except ProbeBrokenError as error:
            raise AdapterRefusedError(str(error)) from None
        if probe is None:
            return None
        probe = _shortened(probe, self._engine.window - 1)
        try:
            of_base = await self._read_base(probe.tokens)
            of_adapter = await self._engine.log_probabilities(probe.tokens, adapter)
        except LogProbabilitiesUnavailableError:
            proof = unread(probe)
        except GenerationRefusedError as error:
            raise AdapterRefusedError(f"What the engine gives to the probe cannot be read: {error}") from None
        else:
            proof = weakest([judge(probe, *values) for values in zip(of_base, of_adapter, strict=True)])
        log.info("Adapter %s: %s.", adapter.name, proof.sentence())
        if proof.verdict == "failed":
            raise AdapterRefusedError(f"{proof.sentence()}.")
        return proof

    async def _read_base(self, tokens: tuple[int, ...]) -> Sequence[Sequence[float]]:
        if self._base_tokens != tokens:
            self._of_base = await self._engine.log_probabilities(tokens, None)
            self._base_tokens = tokens
        return self._of_base


def _shortened(probe: Probe, tokens: int) -> Probe:
    """The probe's beginning, for an engine whose window is shorter than the trainer's; one token is left for an answer."""
    count = tokens - 1
    return Probe(probe.tokens[:tokens], probe.base[:count], probe.previous[:count], probe.adapter[:count])
