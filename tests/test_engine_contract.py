"""One contract, two engines: what the service relies on, held by vLLM and by transformers alike, in float32."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save_file

from tests.engine_fixtures import MORE_ENDS, RANK, change_config, change_weights, make_adapter, make_model
from wmkml.engine.adapters import MOST
from wmkml.engine.building import build_engine
from wmkml.engine.protocol import TOP, Adapter, AdapterRefused, Engine, EngineDied, Generation, Sampling, Step
from wmkml.engine.setup import EngineSetup
from wmkml.engine.text import entropy
from wmkml.engine.vllm_engine import VllmEngine

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)
PROMPTS = [tuple((7 * start + 13 * step) % 300 + 10 for step in range(5 + 9 * start)) for start in range(6)]
pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBERS = count(1)
EVERY_LAYER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass
class Ground:
    """An engine that runs, the model it serves, and a fresh place for adapters."""

    engine: Engine
    setup: EngineSetup
    folder: Path

    def adapter(self, seed: int, **more: Any) -> Adapter:
        number = next(NUMBERS)
        path = make_adapter(self.setup.model, self.folder / f"a{number}", seed=seed, **more)
        return Adapter(f"a{number}", number, path)

    def asked(
        self,
        prompt: tuple[int, ...] = PROMPTS[0],
        sampling: Sampling = GREEDY,
        adapter: Adapter | None = None,
        priority: int = 0,
    ) -> Generation:
        return Generation(f"g{next(NUMBERS)}", prompt, sampling, adapter, priority)

    async def steps(
        self,
        prompt: tuple[int, ...] = PROMPTS[0],
        sampling: Sampling = GREEDY,
        adapter: Adapter | None = None,
        priority: int = 0,
    ) -> list[Step]:
        return [step async for step in self.engine.generate(self.asked(prompt, sampling, adapter, priority))]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def setup(folder: Path) -> EngineSetup:
    model = make_model(folder / "model")
    return EngineSetup(model, adapters=6, rank=RANK, dtype="float32", sequences=16, batched_tokens=32)


@pytest_asyncio.fixture(
    scope="module", params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)], loop_scope="module"
)
async def ground(request: pytest.FixtureRequest, setup: EngineSetup, folder: Path) -> AsyncIterator[Ground]:
    engine = build_engine(request.param, setup)
    await engine.start()
    yield Ground(engine, setup, folder / request.param)
    await engine.stop()
    assert not engine.alive()


def tokens(steps: list[Step]) -> list[int]:
    return [step.token for step in steps]


@pytest.fixture(scope="module")
def reference(setup: EngineSetup) -> list[list[int]]:
    """Greedy tokens by plain forward passes over the whole sequence, without any cache."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(setup.model, dtype=torch.float32).eval()
    found = []
    for prompt in PROMPTS:
        ids = list(prompt)
        while len(ids) < len(prompt) + GREEDY.max_tokens and (
            len(ids) == len(prompt) or ids[-1] not in setup.end_tokens
        ):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        found.append(ids[len(prompt) :])
    return found


async def test_greedy_tokens_are_the_models_alone_and_together(ground: Ground, reference: list[list[int]]) -> None:
    alone = [tokens(await ground.steps(prompt)) for prompt in PROMPTS]
    together = await asyncio.gather(*(ground.steps(prompt) for prompt in PROMPTS for _ in range(2)))
    assert alone == reference
    assert [tokens(steps) for steps in together] == [one for one in reference for _ in range(2)]


async def test_logprobs_are_of_the_raw_logits(ground: Ground) -> None:
    from transformers import AutoModelForCausalLM

    hot = Sampling(temperature=1.7, top_p=0.8, max_tokens=8, frequency_penalty=1.5, seed=3)
    steps = await ground.steps(sampling=hot)
    model = AutoModelForCausalLM.from_pretrained(ground.setup.model, dtype=torch.float32).eval()
    ids = [*PROMPTS[0], *tokens(steps)]
    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
    for place, step in enumerate(steps):
        row = expected[len(PROMPTS[0]) + place - 1]
        assert step.logprob == pytest.approx(float(row[step.token]), abs=1e-3)
        assert len(step.top) == TOP
        assert [value for _, value in step.top] == pytest.approx(torch.topk(row, TOP).values.tolist(), abs=1e-3)
        shares = [math.exp(value) for _, value in step.top]
        rest = 1 - sum(shares)
        assert entropy(step.top) == pytest.approx(-sum(p * math.log(p) for p in [*shares, rest]), abs=1e-9)
        assert 0 < entropy(step.top) <= math.log(TOP + 1)
        # Whoever reads the likeliest tells the one that was drawn from them by its number, to the last bit.
        assert len({token for token, _ in step.top}) == TOP
        assert dict(step.top).get(step.token, step.logprob) == step.logprob


async def test_answer_ends_at_an_end_token_or_at_its_length(ground: Ground) -> None:
    ends = set(ground.setup.end_tokens)
    assert ends.issuperset(MORE_ENDS)
    found = [await ground.steps(sampling=Sampling(2.0, 1.0, max_tokens=200, seed=seed)) for seed in range(6)]
    found.append(await ground.steps(sampling=Sampling(0.0, 1.0, max_tokens=1)))
    for steps in found:
        assert all(step.finish is None for step in steps[:-1])
        assert not ends.intersection(tokens(steps[:-1]))
        assert steps[-1].finish == ("stop" if steps[-1].token in ends else "length")
    assert {steps[-1].finish for steps in found} == {"stop", "length"}
    assert len(found[-1]) == 1


async def test_a_seed_is_harmless_and_repeats_an_answer_where_it_can(ground: Ground) -> None:
    seeded = Sampling(1.0, 0.95, max_tokens=16, seed=11)
    # Long prompts are read in pieces while others are answered: there vLLM on a CPU would die of a seed.
    rows = await asyncio.gather(*(ground.steps(PROMPTS[5], seeded, priority=one % 3) for one in range(12)))
    if ground.engine.name == "transformers":
        assert len({tuple(tokens(row)) for row in rows}) == 1
    assert ground.engine.alive()


async def test_what_is_asked_together_repeats_with_its_seeds_whoever_else_is_asked(ground: Ground) -> None:
    if ground.engine.name == "vllm":
        pytest.skip("what vLLM steps together depends on when it is asked, and a CPU's has no seeds")
    drawn = [replace(GREEDY, temperature=1.0, top_p=0.95, seed=number) for number in range(len(PROMPTS))]
    alone = [tokens(await ground.steps(*one)) for one in zip(PROMPTS, drawn, strict=True)]
    for _ in range(3):
        together = await asyncio.gather(*(ground.steps(*one) for one in zip(PROMPTS, drawn, strict=True)))
        assert [tokens(one) for one in together] == alone


async def test_answers_differ_without_a_seed(ground: Ground) -> None:
    free = Sampling(2.0, 1.0, max_tokens=16)
    rows = await asyncio.gather(*(ground.steps(sampling=free) for _ in range(6)))
    assert len({tuple(tokens(row)) for row in rows}) == 6


async def test_top_p_leaves_the_likeliest(ground: Ground) -> None:
    narrow = Sampling(temperature=1.5, top_p=1e-4, max_tokens=24, seed=5)
    assert tokens(await ground.steps(sampling=narrow)) == tokens(await ground.steps())


async def test_penalties_count_what_was_generated(ground: Ground) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(ground.setup.model, dtype=torch.float32).eval()
    for frequency, presence in ((2.0, 0.0), (0.0, 2.0), (1.0, -0.5)):
        sampling = Sampling(0.0, 1.0, max_tokens=24, frequency_penalty=frequency, presence_penalty=presence)
        ids, counts = list(PROMPTS[1]), torch.zeros(model.config.vocab_size)
        for step in await ground.steps(PROMPTS[1], sampling):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            expected = int((logits - frequency * counts - presence * (counts > 0)).argmax())
            assert step.token == expected
            ids.append(expected)
            counts[expected] += 1


async def test_adapters_are_added_and_removed_under_a_stream_that_goes_on(ground: Ground) -> None:
    long = Sampling(0.0, 1.0, max_tokens=120)
    plain = await ground.steps(PROMPTS[2], long)
    stream = ground.engine.generate(ground.asked(PROMPTS[2], long))
    seen = [await anext(stream)]
    adapters = [ground.adapter(seed) for seed in range(3)]
    answers = []
    for adapter in adapters:
        await ground.engine.load(adapter)
        answers.append(tokens(await ground.steps(PROMPTS[2], adapter=adapter)))
    base = tokens(await ground.steps(PROMPTS[2]))
    assert len({tuple(answer) for answer in [*answers, base]}) == 4
    mixed = await asyncio.gather(*(ground.steps(PROMPTS[2], adapter=one) for one in [*adapters, None]))
    assert [tokens(one) for one in mixed] == [*answers, base]
    for adapter in adapters:
        await ground.engine.unload(adapter)
    seen += [step async for step in stream]
    assert tokens(seen) == tokens(plain)
    assert tokens(await ground.steps(PROMPTS[2])) == base


async def test_a_stream_keeps_the_adapter_it_began_with(ground: Ground) -> None:
    old, new = ground.adapter(21), ground.adapter(22)
    long = Sampling(0.0, 1.0, max_tokens=60)
    await ground.engine.load(old)
    alone = tokens(await ground.steps(PROMPTS[3], long, old))
    stream = ground.engine.generate(ground.asked(PROMPTS[3], long, old))
    seen = [await anext(stream)]
    await ground.engine.load(new)
    other = asyncio.create_task(ground.steps(PROMPTS[3], long, new))
    seen += [step async for step in stream]
    assert tokens(seen) == alone
    assert tokens(await other) != alone
    for adapter in (old, new):
        await ground.engine.unload(adapter)


async def test_a_refused_adapter_leaves_streams_and_engine_alone(ground: Ground) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        next(iter(tensors.values()))[0, 0] = float("nan")
        return tensors

    bad = ground.adapter(31)
    change_weights(bad.path, spoil)
    missing = Adapter("missing", next(NUMBERS), ground.folder / "nowhere")
    plain = tokens(await ground.steps(PROMPTS[4], Sampling(0.0, 1.0, max_tokens=80)))
    stream = ground.engine.generate(ground.asked(PROMPTS[4], Sampling(0.0, 1.0, max_tokens=80)))
    seen = [await anext(stream)]
    for adapter in (bad, missing):
        with pytest.raises(AdapterRefused):
            await ground.engine.load(adapter)
        with pytest.raises(AdapterRefused, match="not loaded"):
            await ground.steps(adapter=adapter)
    assert tokens(seen + [step async for step in stream]) == plain
    assert ground.engine.alive()


async def test_a_huge_adapter_is_refused_and_the_largest_that_is_not_yields_finite_numbers(ground: Ground) -> None:
    largest, huge = (ground.adapter(seed, target_modules=EVERY_LAYER) for seed in (61, 62))
    weight = 0.99 * math.sqrt(MOST / (RANK * 2))
    for adapter, value in ((largest, weight), (huge, 2 * weight)):
        change_weights(
            adapter.path,
            lambda some, value=value: {name: torch.sign(one) * value for name, one in some.items()},  # type: ignore[misc]
        )
    with pytest.raises(AdapterRefused, match="so large"):
        await ground.engine.load(huge)
    await ground.engine.load(largest)
    steps = [step for prompt in PROMPTS for step in await ground.steps(prompt, adapter=largest)]
    assert all(math.isfinite(value) for step in steps for value in (step.logprob, *dict(step.top).values()))
    await ground.engine.unload(largest)
    assert ground.engine.alive()


async def test_an_adapter_that_the_engine_cannot_read_is_refused_and_takes_no_place(ground: Ground) -> None:
    plain = tokens(await ground.steps())
    for number in range(ground.setup.adapters + 1):
        bad = ground.adapter(71)
        # PEFT reads no such task; vLLM reads no such module.
        other = {"target_modules": 5} if number == 0 or ground.engine.name == "vllm" else {"task_type": "NONSENSE"}
        change_config(bad.path, **other)
        with pytest.raises(AdapterRefused):
            await ground.engine.load(bad)
    good = ground.adapter(72)
    await ground.engine.load(good)
    assert tokens(await ground.steps(adapter=good)) != plain
    await ground.engine.unload(good)
    assert tokens(await ground.steps()) == plain


async def test_prompts_are_forgotten_under_a_stream_that_goes_on(ground: Ground) -> None:
    long, prompt = Sampling(0.0, 1.0, max_tokens=80), PROMPTS[5] * 6
    alone = tokens(await ground.steps(prompt, long))
    stream = ground.engine.generate(ground.asked(prompt, long))
    seen = [await anext(stream)]
    await ground.engine.forget_prompts()
    seen += [step async for step in stream]
    assert tokens(seen) == alone
    await ground.engine.forget_prompts()
    if isinstance(ground.engine, VllmEngine):
        assert await known_of(ground.engine, prompt) == 0
        assert await known_of(ground.engine, prompt) > 0
        await ground.engine.forget_prompts()
        assert await known_of(ground.engine, prompt) == 0


async def known_of(engine: VllmEngine, prompt: tuple[int, ...]) -> int:
    """How many tokens of a prompt vLLM had in its cache when it was asked."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=1, detokenize=False)
    known = [
        output.num_cached_tokens
        async for output in engine._llm.generate({"prompt_token_ids": list(prompt)}, parameters, f"k{next(NUMBERS)}")
    ]
    return int(known[-1] or 0)


async def test_an_unloaded_adapter_never_reaches_the_engine(ground: Ground) -> None:
    gone = ground.adapter(41)
    await ground.engine.load(gone)
    await ground.engine.unload(gone)
    shutil.rmtree(gone.path)
    with pytest.raises(AdapterRefused, match="not loaded"):
        await ground.steps(adapter=gone)
    with pytest.raises(AdapterRefused, match="used only once"):
        await ground.engine.load(gone)
    assert tokens(await ground.steps()) == tokens(await ground.steps())


async def test_a_visitor_overtakes_echoes(ground: Ground) -> None:
    order: list[str] = []

    async def run(name: str, prompt: tuple[int, ...], priority: int, length: int) -> None:
        sampling = Sampling(1.0, 1.0, max_tokens=length, seed=1, frequency_penalty=-1.0)
        await ground.steps(prompt, sampling, priority=priority)
        order.append(name)

    # Three times as many echoes as there are places; the visitor comes after all of them have been asked.
    echoes = [asyncio.create_task(run("echo", PROMPTS[number % 5], 10, 60)) for number in range(48)]
    await asyncio.sleep(0.05)
    await run("visitor", PROMPTS[5], 0, 12)
    await asyncio.gather(*echoes)
    assert order.index("visitor") < 24


async def test_closing_a_stream_ends_its_generation(ground: Ground) -> None:
    endless = Sampling(1.0, 1.0, max_tokens=400, seed=2)
    streams = [ground.engine.generate(ground.asked(PROMPTS[number % 6], endless)) for number in range(16)]
    for stream in streams:
        await anext(stream)
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]
    adapter = ground.adapter(51)
    await ground.engine.load(adapter)
    stream = ground.engine.generate(ground.asked(sampling=endless, adapter=adapter))
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    await ground.engine.unload(adapter)
    assert len(await ground.steps()) > 0


async def test_z_a_stopped_engine_says_so(ground: Ground) -> None:
    stream = ground.engine.generate(ground.asked(sampling=Sampling(1.0, 1.0, max_tokens=400, seed=2)))
    await anext(stream)
    await ground.engine.stop()
    assert not ground.engine.alive()
    with pytest.raises(EngineDied):
        await ground.steps()
    await stream.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
async def test_zz_an_engine_whose_numbers_are_not_finite_dies(setup: EngineSetup, tmp_path: Path, name: str) -> None:
    model = Path(shutil.copytree(setup.model, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    engine = build_engine(name, replace(setup, model=model))  # type: ignore[arg-type]
    await engine.start()
    assert engine.alive()
    with pytest.raises(EngineDied):
        async for step in engine.generate(Generation("poisoned", PROMPTS[0], GREEDY)):
            assert math.isfinite(step.logprob)
    for _ in range(100):
        if not engine.alive():
            break
        await asyncio.sleep(0.05)
    assert not engine.alive()
    await engine.stop()
