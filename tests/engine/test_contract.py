"""What the inference service relies on in an engine, tested with every engine (vLLM, transformers, remote) in float32."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save_file

from tests.engine.random_model import MORE_ENDS, RANK, change_config, change_weights, make_adapter, make_model
from tests.engine.vllm_server_stand_in import vllm_server_stand_in
from tests.warm_processes import VLLM, warm_children
from wmkml.adapters.checks import MAX_MAGNITUDE, AdapterRefusedError
from wmkml.engine.build import build_engine
from wmkml.engine.protocol import TOP_LOGPROBS, Adapter, Engine, EngineDiedError, Generation, Sampling, Step
from wmkml.engine.remote_protocol import Deployment, ProtocolError
from wmkml.engine.setup import EngineSetup
from wmkml.engine.text import entropy
from wmkml.engine.vllm_engine import VllmEngine

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)
PROMPTS = [tuple((7 * start + 13 * step) % 300 + 10 for step in range(5 + 9 * start)) for start in range(6)]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.process]
NUMBERS = count(1)
REAL_SERVER = "WMKML_TEST_VLLM_SERVER"
"""The environment variable with the URL of a real `vllm serve` of the same model, in place of the stand-in."""
EVERY_LAYER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass
class EngineHarness:
    """A running engine, its setup, and a folder for new adapters and for what it compiles."""

    engine: Engine
    setup: EngineSetup
    folder: Path

    def adapter(self, seed: int, **more: Any) -> Adapter:
        number = next(NUMBERS)
        path = make_adapter(self.setup.model, self.folder / f"a{number}", seed=seed, **more)
        return Adapter(f"a{number}", number, path)

    def generation(
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
        return [step async for step in self.engine.generate(self.generation(prompt, sampling, adapter, priority))]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def setup(folder: Path) -> EngineSetup:
    model = make_model(folder / "model")
    return EngineSetup(
        model,
        adapters=6,
        rank=RANK,
        target_modules=tuple(EVERY_LAYER),
        dtype="float32",
        sequences=16,
        batched_tokens=32,
        # As the service always gives it on a CPU: vLLM then computes in its core's own process.
        threads=1,
    )


ENGINES = ["transformers", "remote", pytest.param("vllm", marks=pytest.mark.vllm)]


@contextlib.contextmanager
def not_started(name: Literal["transformers", "remote", "vllm"], setup: EngineSetup, folder: Path) -> Iterator[Engine]:
    """An engine; the remote one is asked at a stand-in of `vllm serve`, or at the server that the environment names."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warm_children(VLLM))
        if name == "remote":
            url = os.environ.get(REAL_SERVER) or stack.enter_context(vllm_server_stand_in(setup.model, folder))
            setup = replace(setup, deployment=Deployment(url))
        yield build_engine(name, setup)


@pytest_asyncio.fixture(scope="module", params=ENGINES, loop_scope="module")
async def harness(request: pytest.FixtureRequest, setup: EngineSetup, folder: Path) -> AsyncIterator[EngineHarness]:
    """An engine where there is no compiler, and whatever is compiled all the same comes into its folder."""
    own = folder / request.param
    with pytest.MonkeyPatch.context() as patch, not_started(request.param, setup, own) as engine:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(own / "compiled"))
        patch.setenv("CXX", str(own / "missing"))
        await engine.start()
        yield EngineHarness(engine, setup, own)
        await engine.stop()
        assert not engine.alive()


def tokens(steps: list[Step]) -> list[int]:
    return [step.token for step in steps]


@pytest.fixture(scope="module")
def reference(setup: EngineSetup) -> list[list[int]]:
    """Greedy tokens by plain forward passes over the whole sequence, without any cache."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(setup.model, dtype=torch.float32).eval()
    answers = []
    for prompt in PROMPTS:
        ids = list(prompt)
        while len(ids) < len(prompt) + GREEDY.max_tokens and (
            len(ids) == len(prompt) or ids[-1] not in setup.end_tokens
        ):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        answers.append(ids[len(prompt) :])
    return answers


async def test_greedy_tokens_are_the_models_alone_and_together(
    harness: EngineHarness, reference: list[list[int]]
) -> None:
    alone = [tokens(await harness.steps(prompt)) for prompt in PROMPTS]
    together = await asyncio.gather(*(harness.steps(prompt) for prompt in PROMPTS for _ in range(2)))
    assert alone == reference
    assert [tokens(steps) for steps in together] == [answer for answer in reference for _ in range(2)]


async def test_logprobs_are_of_the_raw_logits(harness: EngineHarness) -> None:
    from transformers import AutoModelForCausalLM

    hot = Sampling(temperature=1.7, top_p=0.8, max_tokens=8, frequency_penalty=1.5, seed=3)
    steps = await harness.steps(sampling=hot)
    model = AutoModelForCausalLM.from_pretrained(harness.setup.model, dtype=torch.float32).eval()
    ids = [*PROMPTS[0], *tokens(steps)]
    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
    for place, step in enumerate(steps):
        row = expected[len(PROMPTS[0]) + place - 1]
        assert step.logprob == pytest.approx(float(row[step.token]), abs=1e-3)
        assert step.rank in (None, int((row >= row[step.token]).sum())), "a deployment elsewhere does not tell it"
        assert (step.rank is None) == (harness.engine.name == "remote")
        assert len(step.top) == TOP_LOGPROBS
        assert [value for _, value in step.top] == pytest.approx(
            torch.topk(row, TOP_LOGPROBS).values.tolist(), abs=1e-3
        )
        shares = [math.exp(value) for _, value in step.top]
        rest = 1 - sum(shares)
        assert entropy(step.top) == pytest.approx(-sum(p * math.log(p) for p in [*shares, rest]), abs=1e-9)
        assert 0 < entropy(step.top) <= math.log(TOP_LOGPROBS + 1)
        # Readers find the drawn token among the likeliest by its id, and its logprob must be bitwise the same there.
        assert len({token for token, _ in step.top}) == TOP_LOGPROBS
        assert dict(step.top).get(step.token, step.logprob) == step.logprob


async def test_an_answer_without_log_probabilities_is_the_same(harness: EngineHarness) -> None:
    bare = replace(harness.generation(), with_logprobs=False)
    steps = [step async for step in harness.engine.generate(bare)]
    expected = await harness.steps()
    assert [(step.token, step.finish) for step in steps] == [(step.token, step.finish) for step in expected]
    assert all(math.isnan(step.logprob) and not step.top for step in steps)


async def test_log_probabilities_are_the_models_with_and_without_an_adapter(harness: EngineHarness) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = harness.adapter(seed=31)
    with pytest.raises(AdapterRefusedError):
        await harness.engine.log_probabilities(PROMPTS[5], adapter)
    await harness.engine.load(adapter)
    model = AutoModelForCausalLM.from_pretrained(harness.setup.model, dtype=torch.float32).eval()
    for used in (None, adapter):
        if used is not None:
            model = PeftModel.from_pretrained(model, str(used.path)).eval()
        with torch.no_grad():
            rows = torch.log_softmax(model(torch.tensor([PROMPTS[5]])).logits[0], dim=-1)
        expected = [float(rows[place][token]) for place, token in enumerate(PROMPTS[5][1:])]
        for _ in range(2):  # the second time a prefix cache could hold it
            [values] = await harness.engine.log_probabilities(PROMPTS[5], used)
            assert values == pytest.approx(expected, abs=1e-3)
    await harness.engine.unload(adapter)


async def test_answer_ends_at_an_end_token_or_at_its_length(harness: EngineHarness) -> None:
    ends = set(harness.setup.end_tokens)
    assert ends.issuperset(MORE_ENDS)
    answers = [await harness.steps(sampling=Sampling(2.0, 1.0, max_tokens=200, seed=seed)) for seed in range(6)]
    answers.append(await harness.steps(sampling=Sampling(0.0, 1.0, max_tokens=1)))
    for steps in answers:
        assert all(step.finish is None for step in steps[:-1])
        assert not ends.intersection(tokens(steps[:-1]))
        assert steps[-1].finish == ("stop" if steps[-1].token in ends else "length")
    assert {steps[-1].finish for steps in answers} == {"stop", "length"}
    assert len(answers[-1]) == 1


async def test_a_seed_is_harmless_and_repeats_an_answer_where_it_can(harness: EngineHarness) -> None:
    seeded = Sampling(1.0, 0.95, max_tokens=16, seed=11)
    # Long prompts are prefilled in chunks beside decoding; vLLM on a CPU crashes on a seed there.
    rows = await asyncio.gather(*(harness.steps(PROMPTS[5], seeded, priority=number % 3) for number in range(12)))
    if harness.engine.name == "transformers":
        assert len({tuple(tokens(row)) for row in rows}) == 1
    assert harness.engine.alive()


async def test_what_is_asked_together_repeats_with_its_seeds_whoever_else_is_asked(harness: EngineHarness) -> None:
    if harness.engine.name == "vllm":
        pytest.skip("what vLLM steps together depends on when it is asked, and a CPU's has no seeds")
    drawn = [replace(GREEDY, temperature=1.0, top_p=0.95, seed=number) for number in range(len(PROMPTS))]
    alone = [tokens(await harness.steps(*arguments)) for arguments in zip(PROMPTS, drawn, strict=True)]
    for _ in range(3):
        together = await asyncio.gather(*(harness.steps(*arguments) for arguments in zip(PROMPTS, drawn, strict=True)))
        assert [tokens(steps) for steps in together] == alone


async def test_answers_differ_without_a_seed(harness: EngineHarness) -> None:
    free = Sampling(2.0, 1.0, max_tokens=16)
    rows = await asyncio.gather(*(harness.steps(sampling=free) for _ in range(6)))
    assert len({tuple(tokens(row)) for row in rows}) == 6


async def test_top_p_leaves_the_likeliest(harness: EngineHarness) -> None:
    narrow = Sampling(temperature=1.5, top_p=1e-4, max_tokens=24, seed=5)
    assert tokens(await harness.steps(sampling=narrow)) == tokens(await harness.steps())


async def test_penalties_count_what_was_generated(harness: EngineHarness) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(harness.setup.model, dtype=torch.float32).eval()
    for frequency, presence in ((2.0, 0.0), (0.0, 2.0), (1.0, -0.5)):
        sampling = Sampling(0.0, 1.0, max_tokens=24, frequency_penalty=frequency, presence_penalty=presence)
        ids, counts = list(PROMPTS[1]), torch.zeros(model.config.vocab_size)
        for step in await harness.steps(PROMPTS[1], sampling):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            expected = int((logits - frequency * counts - presence * (counts > 0)).argmax())
            assert step.token == expected
            ids.append(expected)
            counts[expected] += 1


async def test_a_long_prompt_is_read_beside_many_answers_and_in_the_order_of_asking(harness: EngineHarness) -> None:
    if harness.engine.name == "remote":
        pytest.skip("the order is the deployment's there")
    long, later = (tuple(10 + (place * step) % 300 for place in range(200)) for step in (3, 7))
    chunks = -(-len(long) // harness.setup.batched_tokens)
    others, firsts = 0, list[str]()

    async def answer(stream: AsyncIterator[Step]) -> None:
        nonlocal others
        async for _ in stream:
            others += 1

    async def first_of(name: str, prompt: tuple[int, ...]) -> int:
        stream = harness.engine.generate(harness.generation(prompt, Sampling(0.0, 1.0, max_tokens=2)))
        before = others
        await anext(stream)
        firsts.append(name)
        await stream.aclose()  # type: ignore[attr-defined]
        return others - before

    streams = []
    for _ in range(10):  # each begun by itself, as visitors do
        stream = harness.engine.generate(harness.generation(PROMPTS[0], Sampling(1.0, 1.0, max_tokens=400)))
        await anext(stream)
        streams.append(stream)
    answers = [asyncio.create_task(answer(stream)) for stream in streams]
    asked = [asyncio.create_task(first_of(name, prompt)) for name, prompt in (("long", long), ("later", later))]
    try:
        meanwhile = await asyncio.gather(*asked)
    finally:
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
    assert firsts == ["long", "later"]
    if harness.engine.name == "transformers":
        # An answer's step between two of reading, not one of each of the ten.
        assert meanwhile[0] <= 3 * chunks


async def test_adapters_are_added_and_removed_under_a_stream_that_goes_on(harness: EngineHarness) -> None:
    long = Sampling(0.0, 1.0, max_tokens=120)
    plain = await harness.steps(PROMPTS[2], long)
    stream = harness.engine.generate(harness.generation(PROMPTS[2], long))
    stream_steps = [await anext(stream)]
    adapters = [harness.adapter(seed) for seed in range(3)]
    answers = []
    for adapter in adapters:
        await harness.engine.load(adapter)
        answers.append(tokens(await harness.steps(PROMPTS[2], adapter=adapter)))
    base = tokens(await harness.steps(PROMPTS[2]))
    assert len({tuple(answer) for answer in [*answers, base]}) == 4
    mixed = await asyncio.gather(*(harness.steps(PROMPTS[2], adapter=adapter) for adapter in [*adapters, None]))
    assert [tokens(steps) for steps in mixed] == [*answers, base]
    for adapter in adapters:
        await harness.engine.unload(adapter)
    stream_steps += [step async for step in stream]
    assert tokens(stream_steps) == tokens(plain)
    assert tokens(await harness.steps(PROMPTS[2])) == base


async def test_a_stream_keeps_the_adapter_it_began_with(harness: EngineHarness) -> None:
    old, new = harness.adapter(21), harness.adapter(22)
    long = Sampling(0.0, 1.0, max_tokens=60)
    await harness.engine.load(old)
    alone = tokens(await harness.steps(PROMPTS[3], long, old))
    stream = harness.engine.generate(harness.generation(PROMPTS[3], long, old))
    stream_steps = [await anext(stream)]
    await harness.engine.load(new)
    other = asyncio.create_task(harness.steps(PROMPTS[3], long, new))
    stream_steps += [step async for step in stream]
    assert tokens(stream_steps) == alone
    assert tokens(await other) != alone
    for adapter in (old, new):
        await harness.engine.unload(adapter)


async def test_a_refused_adapter_leaves_streams_and_engine_alone(harness: EngineHarness) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        next(iter(tensors.values()))[0, 0] = float("nan")
        return tensors

    bad = harness.adapter(31)
    change_weights(bad.path, spoil)
    missing = Adapter("missing", next(NUMBERS), harness.folder / "nowhere")
    plain = tokens(await harness.steps(PROMPTS[4], Sampling(0.0, 1.0, max_tokens=80)))
    stream = harness.engine.generate(harness.generation(PROMPTS[4], Sampling(0.0, 1.0, max_tokens=80)))
    stream_steps = [await anext(stream)]
    for adapter in (bad, missing):
        with pytest.raises(AdapterRefusedError):
            await harness.engine.load(adapter)
        with pytest.raises(AdapterRefusedError, match="not loaded"):
            await harness.steps(adapter=adapter)
    assert tokens(stream_steps + [step async for step in stream]) == plain
    assert harness.engine.alive()


def with_magnitude(tensors: dict[str, torch.Tensor], value: float) -> dict[str, torch.Tensor]:
    return {name: torch.sign(tensor) * value for name, tensor in tensors.items()}


async def test_a_huge_adapter_is_refused_and_the_largest_that_is_not_yields_finite_numbers(
    harness: EngineHarness,
) -> None:
    largest, huge = (harness.adapter(seed, target_modules=EVERY_LAYER) for seed in (61, 62))
    weight = 0.99 * math.sqrt(MAX_MAGNITUDE / (RANK * 2))
    for adapter, value in ((largest, weight), (huge, 2 * weight)):
        change_weights(adapter.path, functools.partial(with_magnitude, value=value))
    with pytest.raises(AdapterRefusedError, match="so large"):
        await harness.engine.load(huge)
    await harness.engine.load(largest)
    steps = [step for prompt in PROMPTS for step in await harness.steps(prompt, adapter=largest)]
    assert all(math.isfinite(value) for step in steps for value in (step.logprob, *dict(step.top).values()))
    await harness.engine.unload(largest)
    assert harness.engine.alive()


async def test_an_adapter_that_the_engine_cannot_read_is_refused_and_takes_no_place(harness: EngineHarness) -> None:
    plain = tokens(await harness.steps())
    of_vllm = harness.engine.name == "vllm" or REAL_SERVER in os.environ
    for number in range(harness.setup.adapters + 1):
        bad = harness.adapter(71)
        # PEFT refuses an unknown task type, vLLM an unknown module.
        other = {"target_modules": 5} if number == 0 or of_vllm else {"task_type": "NONSENSE"}
        change_config(bad.path, **other)
        with pytest.raises(AdapterRefusedError):
            await harness.engine.load(bad)
    good = harness.adapter(72)
    await harness.engine.load(good)
    assert tokens(await harness.steps(adapter=good)) != plain
    await harness.engine.unload(good)
    assert tokens(await harness.steps()) == plain


async def test_prompts_are_forgotten_under_a_stream_that_goes_on(harness: EngineHarness) -> None:
    long, prompt = Sampling(0.0, 1.0, max_tokens=80), PROMPTS[5] * 6
    alone = tokens(await harness.steps(prompt, long))
    stream = harness.engine.generate(harness.generation(prompt, long))
    stream_steps = [await anext(stream)]
    await harness.engine.clear_prompt_cache()
    stream_steps += [step async for step in stream]
    assert tokens(stream_steps) == alone
    await harness.engine.clear_prompt_cache()
    if isinstance(harness.engine, VllmEngine):
        assert await cached_tokens(harness.engine, prompt) == 0
        assert await cached_tokens(harness.engine, prompt) > 0
        await harness.engine.clear_prompt_cache()
        assert await cached_tokens(harness.engine, prompt) == 0


async def cached_tokens(engine: VllmEngine, prompt: tuple[int, ...]) -> int:
    """How many of the tokens of a prompt vLLM takes from its cache."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=1, detokenize=False)
    counts = [
        output.num_cached_tokens
        async for output in engine._llm.generate({"prompt_token_ids": list(prompt)}, parameters, f"k{next(NUMBERS)}")
    ]
    return int(counts[-1] or 0)


async def test_an_unloaded_adapter_never_reaches_the_engine(harness: EngineHarness) -> None:
    gone = harness.adapter(41)
    await harness.engine.load(gone)
    await harness.engine.unload(gone)
    shutil.rmtree(gone.path)
    with pytest.raises(AdapterRefusedError, match="not loaded"):
        await harness.steps(adapter=gone)
    with pytest.raises(AdapterRefusedError, match="used only once"):
        await harness.engine.load(gone)
    assert tokens(await harness.steps()) == tokens(await harness.steps())


async def test_a_visitor_overtakes_echoes(harness: EngineHarness) -> None:
    order: list[str] = []

    async def run(name: str, prompt: tuple[int, ...], priority: int, length: int) -> None:
        sampling = Sampling(1.0, 1.0, max_tokens=length, seed=1, frequency_penalty=-1.0)
        await harness.steps(prompt, sampling, priority=priority)
        order.append(name)

    # Three times as many echoes as the engine runs at once; the visitor comes after all of them.
    echoes = [asyncio.create_task(run("echo", PROMPTS[number % 5], 10, 60)) for number in range(48)]
    await asyncio.sleep(0.05)
    await run("visitor", PROMPTS[5], 0, 12)
    await asyncio.gather(*echoes)
    assert order.index("visitor") < 24


async def close(stream: AsyncIterator[Step]) -> None:
    assert isinstance(stream, AsyncGenerator)
    await stream.aclose()


async def test_closing_a_stream_ends_its_generation(harness: EngineHarness) -> None:
    endless = Sampling(1.0, 1.0, max_tokens=400, seed=2)
    streams = [harness.engine.generate(harness.generation(PROMPTS[number % 6], endless)) for number in range(16)]
    for stream in streams:
        await anext(stream)
    for stream in streams:
        await close(stream)
    adapter = harness.adapter(51)
    await harness.engine.load(adapter)
    stream = harness.engine.generate(harness.generation(sampling=endless, adapter=adapter))
    await anext(stream)
    await close(stream)
    await harness.engine.unload(adapter)
    assert len(await harness.steps()) > 0


async def test_y_nothing_is_compiled_on_a_cpu_and_no_compiler_is_needed(harness: EngineHarness) -> None:
    adapter = harness.adapter(seed=8)
    await harness.engine.load(adapter)
    warm = Sampling(temperature=1.2, top_p=0.8, max_tokens=4, frequency_penalty=0.5, bias=((7, 1.0),))
    for used in (None, adapter):
        await harness.engine.log_probabilities(PROMPTS[5], used)
        await asyncio.gather(
            *(harness.steps(PROMPTS[number % 3], (GREEDY, warm)[number % 2], used) for number in range(5))
        )
    # Nor for any test before.
    assert not [path for path in (harness.folder / "compiled").rglob("*") if path.is_file()]
    await harness.engine.unload(adapter)


async def test_z_a_stopped_engine_says_so(harness: EngineHarness) -> None:
    stream = harness.engine.generate(harness.generation(sampling=Sampling(1.0, 1.0, max_tokens=400, seed=2)))
    await anext(stream)
    await harness.engine.stop()
    assert not harness.engine.alive()
    with pytest.raises(EngineDiedError):
        await harness.steps()
    await close(stream)


def poisoned(model: Path, folder: Path, name: str, row: int) -> Path:
    """A copy of the model with one row of these weights not finite; its output layer keeps the finite ones."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    weights[name][row] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": False}))
    return folder


@pytest.mark.vllm
async def test_zz_vllm_does_not_start_with_numbers_that_are_not_finite(setup: EngineSetup, tmp_path: Path) -> None:
    model = poisoned(setup.model, tmp_path / "model", "model.norm.weight", 0)
    with not_started("vllm", replace(setup, model=model), tmp_path) as engine:
        with pytest.raises(EngineDiedError, match="first token"):
            await engine.start()
        assert not engine.alive()


@pytest.mark.parametrize("name", ENGINES)
async def test_zz_an_engine_whose_numbers_are_not_finite_dies(
    setup: EngineSetup, tmp_path: Path, name: Literal["transformers", "remote", "vllm"]
) -> None:
    if name == "vllm":
        # It reads a text when it starts, so that the numbers must go wrong later: at a token of the prompt.
        model = poisoned(setup.model, tmp_path / "model", "model.embed_tokens.weight", PROMPTS[0][-1])
    else:
        model = poisoned(setup.model, tmp_path / "model", "model.norm.weight", 0)
    with not_started(name, replace(setup, model=model), tmp_path / "server") as engine:
        if name == "remote":
            # It asks a question first, to learn what the deployment can do, and that finds the engine there dead.
            with pytest.raises(ProtocolError, match="The engine has ended"):
                await engine.start()
            assert not engine.alive()
            return
        await engine.start()
        assert engine.alive()
        with pytest.raises(EngineDiedError):
            async for _ in engine.generate(Generation("poisoned", PROMPTS[0], GREEDY, with_logprobs=False)):
                pass
        for _ in range(100):
            if not engine.alive():
                break
            await asyncio.sleep(0.05)
        assert not engine.alive()
        await engine.stop()
