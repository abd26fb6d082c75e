"""A model of every architecture speaks with an adapter here, and the engines of the installation say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.generation.architectures import (
    ARCHITECTURES,
    RANK,
    WITH_CHAT_TEMPLATE,
    make_architecture,
    make_taught_adapter,
)
from wmkml.engine.protocol import Adapter, Engine, Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.generation.answering import continue_ids
from wmkml.generation.decoding import Decoding
from wmkml.generation.probabilities import read_ids
from wmkml.generation.sources import find_source, with_adapter
from wmkml.generation.speaker import load_speakers

QUESTION = [{"role": "user", "content": "What is a house?"}]
LENGTH = 12
GREEDY = Decoding(max_tokens=LENGTH, temperature=0.0, seed=0)


async def engine_ids(engine: Engine, prompt: tuple[int, ...], adapter: Adapter | None, number: int) -> list[int]:
    sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=LENGTH)
    generation = Generation(f"g{number}", prompt, sampling, adapter)
    return [step.token async for step in engine.generate(generation)]


@pytest.fixture
def speaking(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path]:
    name: str = request.param
    model = make_architecture(name, tmp_path / "model")
    taught = "chat" if name in WITH_CHAT_TEMPLATE else "alpaca"
    return name, model, make_taught_adapter(name, model, tmp_path / "adapter", taught)


async def check_engine(engine: Engine, model: Path, adapter_folder: Path) -> None:
    """The engine says what `generate` says, with the adapter and without it."""
    sources = [find_source(str(model), label="base"), with_adapter(str(model), adapter_folder)]
    base, tuned = load_speakers(sources)
    assert base.template is not None and base.template == tuned.template, "both are asked alike"
    prompt = tuned.prompt_ids(QUESTION, LENGTH).ids
    assert base.prompt_ids(QUESTION, LENGTH).ids == prompt
    answers = {speaker.label: continue_ids(speaker, prompt, GREEDY)[0] for speaker in (base, tuned)}
    assert answers["base"].ids != answers[tuned.label].ids, "the adapter changes what is said"
    adapter = Adapter("taught", 1, adapter_folder)
    await engine.start()
    try:
        await engine.load(adapter)
        for number, speaker in enumerate((base, tuned)):
            loaded = adapter if speaker is tuned else None
            ids = answers[speaker.label].ids
            assert await engine_ids(engine, prompt, loaded, number) == list(ids)
            # And the probabilities of it are the same.
            reading = read_ids(speaker, [*prompt, *ids], ["template"] * len(prompt) + ["answer"] * len(ids))
            (logprobs,) = await engine.log_probabilities([*prompt, *ids], loaded)
            shown = [token.surprise for token in reading.shown]
            assert [-value / 0.6931471805599453 for value in logprobs[len(prompt) - 1 :]] == pytest.approx(
                shown, abs=2e-3
            )
    finally:
        await engine.stop()


@pytest.mark.parametrize("speaking", ARCHITECTURES, indirect=True)
async def test_every_architecture_speaks_in_the_transformers_engine(speaking: tuple[str, Path, Path]) -> None:
    from wmkml.engine.transformers_engine import TransformersEngine

    name, model, adapter = speaking
    setup = EngineSetup(model, adapters=2, rank=RANK, dtype="float32")
    if name != "bloom":
        assert setup.chosen_window == 256
    await check_engine(TransformersEngine(setup), model, adapter)
