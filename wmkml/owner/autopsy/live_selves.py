"""The selves of the run under way: its adapters stay loaded in inference until the rebirth."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from wmkml.owner.autopsy.selves import SelfStep
from wmkml.owner.context import OwnerContext
from wmkml.owner.inference.client import InferenceAwayError, InferenceRefusedError
from wmkml.owner.run.live_run import LiveRun
from wmkml.protocol.autopsy import AutopsySelves, CandidateToken
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.inference import BASE_ITERATION, CompletionRequest

INFERENCE_WAIT_SECONDS = 30.0
"""A question waits this long for inference to come back, then it is refused."""

AWAY = "The language model is away; ask again in a moment."


class LiveSelves:
    """See `wmkml.owner.autopsy.selves.Selves`."""

    def __init__(self, owner: OwnerContext, run: LiveRun) -> None:
        self._owner, self._run = owner, run
        self.inference = owner.settings.inference
        self.visitor_temperature = owner.overrides.visitor_temperature

    async def about(self) -> AutopsySelves:
        """The run and its loaded iterations."""
        owner, run = self._owner, self._run
        if not await owner.watch.wait(INFERENCE_WAIT_SECONDS):
            raise RequestRefusedError(503, AWAY)
        try:
            models = await owner.client.loaded_models()
        except InferenceAwayError:
            owner.watch.require_restore()
            raise RequestRefusedError(503, AWAY) from None
        if run.over:
            raise _over()
        # An adapter that waits for its switch is loaded, and is no self of the language yet.
        accepted = [adapter.iteration for adapter in run.store.adapters() if adapter.iteration <= run.iteration]
        return AutopsySelves(
            run=run.name,
            model=owner.settings.general.model_name,
            language=run.language,
            languages=owner.settings.languages,
            iterations=[
                iteration for iteration in (BASE_ITERATION, *accepted) if owner.client.model_name(iteration) in models
            ],
            rounds=owner.settings.finetuning.num_total_iters,
            kept=False,
        )

    async def steps(self, iteration: int, request: CompletionRequest) -> AsyncGenerator[SelfStep]:
        """Ask inference, and end with the run."""
        client = self._owner.client
        asked = request.model_copy(update={"model": client.model_name(iteration)})
        try:
            async with client.stream_chunks(asked) as chunks:
                async for chunk in chunks:
                    if self._run.over:
                        raise _over()
                    for step in _steps_of(chunk["choices"][0]):
                        yield step
                        if step.finish is not None:
                            return
        except InferenceRefusedError as refusal:
            if refusal.code == "context_length_exceeded":
                raise RequestRefusedError(400, "The prompt is too long for the model: shorten it.") from None
            raise RequestRefusedError(400, "The language model refuses this.") from None
        except InferenceAwayError:
            if self._run.over:
                raise _over() from None
            self._owner.watch.require_restore()
            raise RequestRefusedError(503, AWAY) from None


def _over() -> RequestRefusedError:
    return RequestRefusedError(409, "The run has ended; the language is reborn.")


def _steps_of(choice: Mapping[str, Any]) -> Iterator[SelfStep]:
    """The tokens of one object of a stream; its text belongs to the last of them."""
    entries = list((choice.get("logprobs") or {}).get("content") or [])
    for place, entry in enumerate(entries, 1):
        last = place == len(entries)
        yield SelfStep(
            id=int(entry["id"]),
            text=str((choice.get("delta") or {}).get("content") or "") if last else "",
            probability=_probability(entry),
            entropy=float(entry["entropy"]),
            likeliest=tuple(
                CandidateToken(id=int(top["id"]), text=str(top["token"]), probability=_probability(top))
                for top in entry["top_logprobs"]
            ),
            rank=entry.get("rank"),
            finish=choice.get("finish_reason") if last else None,
        )


def _probability(entry: Mapping[str, Any]) -> float:
    return math.exp(min(0.0, float(entry["logprob"])))
