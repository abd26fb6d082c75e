"""The selves of a kept run in an engine of this process: the base model, and every adapter at the same time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.autopsy.kept_run import KeptRun, KeptRunError
from wmkml.config import ConfigError
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.engine.build import build_engine, engine_setup
from wmkml.engine.choice import choose_engine, vllm_runs
from wmkml.engine.setup import ModelUnusableError
from wmkml.engine.text import token_decoder
from wmkml.inference.adapter_registry import AdapterRegistry
from wmkml.inference.admission import Admission
from wmkml.inference.answering import Answering
from wmkml.inference.metrics import Metrics
from wmkml.owner.autopsy.selves import SelfStep
from wmkml.protocol.autopsy import AutopsySelves, CandidateToken
from wmkml.protocol.inference import CompletionRequest, model_name
from wmkml.protocol.osc import OscSender

EngineName = Literal["auto", "vllm", "transformers"]

NO_BACKGROUND = Admission(max_answers=1, max_prefills=1)
"""Nothing is asked in the background here."""


class KeptSelves:
    """See `wmkml.owner.autopsy.selves.Selves`."""

    def __init__(
        self, run: KeptRun, answering: Answering, registry: AdapterRegistry, decode: Callable[[int], str]
    ) -> None:
        self._run, self._answering, self._registry, self._decode = run, answering, registry, decode
        self.inference = run.settings.inference
        self.visitor_temperature = run.settings.inference.visitor_temperature

    async def about(self) -> AutopsySelves:
        """The run and its iterations."""
        settings = self._run.settings
        return AutopsySelves(
            run=self._run.name,
            model=settings.general.model_name,
            language=self._run.language,
            languages=settings.languages,
            iterations=self._registry.iterations,
            rounds=settings.finetuning.num_total_iters,
            kept=True,
        )

    async def steps(self, iteration: int, request: CompletionRequest) -> AsyncGenerator[SelfStep]:
        """Ask the engine."""
        model = model_name(iteration, self._run.settings.general.model_name)
        prepared = self._answering.prepare(request.model_copy(update={"model": model}))
        async with aclosing(self._answering.pieces(prepared)) as pieces:
            async for _, piece in pieces:
                step = piece.step
                yield SelfStep(
                    id=step.token,
                    text=piece.text,
                    probability=_probability(step.logprob),
                    entropy=piece.entropy(),
                    likeliest=tuple(
                        CandidateToken(id=token, text=self._decode(token), probability=_probability(logprob))
                        for token, logprob in step.top
                    ),
                    rank=step.rank,
                    finish=piece.finish,
                )


@asynccontextmanager
async def kept_selves(
    run: KeptRun, engine_name: EngineName, on_loading: Callable[[str], None], *, gpus: bool
) -> AsyncIterator[KeptSelves]:
    """Load the model and every adapter; the engine ends with the context.

    Args:
        engine_name: auto is vLLM where there is a GPU and vLLM is installed, else transformers, which starts sooner.
        on_loading: is called with what is being loaded.
        gpus: whether this machine has some.

    Raises:
        KeptRunError: the engine cannot start, or takes none of the adapters.
    """
    # The deployment, nodes and copies that the run had are not this process's.
    own = run.settings.inference.model_copy(
        update={"engine": "transformers" if engine_name == "auto" and not gpus else engine_name, "url": "", "nodes": []}
    )
    settings = run.settings.model_copy(update={"inference": own})
    with tempfile.TemporaryDirectory(prefix="wmkml-autopsy-") as folder:
        osc = OscSender([])
        try:
            settings = choose_engine(settings, vllm=vllm_runs(gpus=gpus))
            setup = replace(engine_setup(settings, run.model), adapters=max(1, len(run.adapters)))
            engine = build_engine(settings.inference.engine, setup)
            tokenizer = load_tokenizer(run.model)
        except (ConfigError, ModelUnusableError, ValueError, OSError) as error:
            raise KeptRunError(f"The engine cannot start: {error}") from None
        try:
            on_loading(f"{run.settings.general.model_name} ({engine.name})")
            await engine.start()
            registry = AdapterRegistry(engine, Path(folder) / "adapters")
            for iteration, adapter in sorted(run.adapters.items()):
                on_loading(f"iteration {iteration}")
                try:
                    await registry.load(adapter, iteration)
                except AdapterRefusedError as error:
                    raise KeptRunError(f"Iteration {iteration} is not taken: {error}") from None
            ends = setup.end_tokens
            answering = Answering(settings, engine, tokenizer, registry, osc, Metrics(), NO_BACKGROUND, ends)
            yield KeptSelves(run, answering, registry, token_decoder(tokenizer))
        finally:
            osc.close()
            await engine.stop()


def _probability(logprob: float) -> float:
    return math.exp(min(0.0, logprob))
