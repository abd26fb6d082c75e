"""That a loaded adapter is the one that answers: proved by the probe in its folder, and said in every answer."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.engine.random_model import change_weights, make_adapter
from tests.inference.probes import TOKENS, read
from tests.inference.requests import ENDLESS, text
from tests.inference.service import InferenceProcess
from wmkml.adapters.files import WEIGHTS_FILE
from wmkml.adapters.probe import PROBE_FILE, Probe, write_probe

pytestmark = pytest.mark.process


@pytest.fixture(scope="session")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three adapters in turn, each with the probe that its trainer would have left."""
    folder = tmp_path_factory.mktemp("proved")
    of_base = read(model, None)
    previous, made = of_base, []
    for seed in range(3):
        adapter = make_adapter(model, folder / f"a{seed}", seed=40 + seed)
        of_adapter = read(model, adapter)
        (adapter / PROBE_FILE).write_bytes(write_probe(Probe(TOKENS, of_base, previous, of_adapter)))
        previous = of_adapter
        made.append(adapter)
    return made


@pytest.fixture(autouse=True)
def clean(service: InferenceProcess) -> Iterator[None]:
    """Unload all adapters and drop the OSC messages after the test."""
    yield
    assert service.post("/unload").status_code == 200
    service.osc_messages(0.1)


def place(service: InferenceProcess, adapter: Path, name: str) -> Path:
    folder = service.runs / "proofs" / name
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(adapter, folder))


def sha256_of(adapter: Path) -> str:
    return hashlib.sha256((adapter / WEIGHTS_FILE).read_bytes()).hexdigest()


def test_an_adapter_with_its_own_probe_is_proved(service: InferenceProcess, adapters: list[Path]) -> None:
    for iteration, adapter in enumerate(adapters):
        reply = service.load(place(service, adapter, f"{iteration}"), iteration)
        proof = reply.json()["proof"]
        assert (proof["verdict"], proof["compared"]) == ("proved", "values"), reply.text
        assert proof["distance"] < 0.01 < 0.1 < min(proof["to_previous"], proof["to_base"], proof["moved"])
        assert proof["noise"] < 0.01


def test_said_again_it_is_still_proved(service: InferenceProcess, adapters: list[Path]) -> None:
    folder = place(service, adapters[0], "again")
    assert service.load(folder, 0).json()["proof"] == service.load(folder, 0).json()["proof"] is not None


def test_weights_that_are_not_those_of_the_probe_are_refused(service: InferenceProcess, adapters: list[Path]) -> None:
    assert service.load(place(service, adapters[0], "0"), 0).status_code == 200
    before = text(service.ask(model="iteration-0", max_tokens=40))
    # As if the engine still answered with the adapter before.
    stale = place(service, adapters[1], "stale")
    shutil.copyfile(adapters[0] / WEIGHTS_FILE, stale / WEIGHTS_FILE)
    # As if it answered without any.
    unused = change_weights(
        place(service, adapters[1], "unused"), lambda tensors: {name: value * 0 for name, value in tensors.items()}
    )
    for folder in (stale, unused):
        reply = service.load(folder, 1)
        assert reply.status_code == 400
        assert "the engine does not use this adapter" in reply.json()["error"]
    assert service.http.get("/healthz").json()["iterations"] == [-1, 0]
    assert len(list((service.folder / "data" / "serving").iterdir())) == 1, "their copies are gone"
    assert text(service.ask(model="iteration-0", max_tokens=40)) == before


def test_without_a_probe_an_adapter_is_served_and_nothing_is_said(
    service: InferenceProcess, adapters: list[Path]
) -> None:
    folder = place(service, adapters[0], "bare")
    (folder / PROBE_FILE).unlink()
    assert service.load(folder, 0).json()["proof"] is None
    (place(service, adapters[1], "broken") / PROBE_FILE).write_text("{}")
    reply = service.load(service.runs / "proofs" / "broken", 1)
    assert (reply.status_code, PROBE_FILE in reply.json()["error"]) == (400, True)


def test_every_answer_names_the_weights_that_gave_it(
    service: InferenceProcess, client: openai.OpenAI, model: Path, adapters: list[Path]
) -> None:
    folder = place(service, adapters[0], "named")
    assert service.load(folder, 0).status_code == 200
    expected = f"sha256:{sha256_of(folder)}"
    assert service.ask(model="iteration-0").json()["system_fingerprint"] == expected
    assert service.ask(model=str(model)).json()["system_fingerprint"] == "base"
    chunks = list(
        client.chat.completions.create(
            model="iteration-0", messages=[{"role": "user", "content": "Hallo"}], stream=True, max_tokens=8, n=4
        )
    )
    assert len(chunks) > 2 and {chunk.system_fingerprint for chunk in chunks} == {expected}


def test_a_long_stream_over_three_swaps_ends_on_the_iteration_it_began_with(
    service: InferenceProcess, adapters: list[Path]
) -> None:
    first, *later = (place(service, adapter, f"long-{number}") for number, adapter in enumerate(adapters))
    assert service.load(first, 0).status_code == 200
    assert service.post("/current", iteration=0).status_code == 200
    body = {**ENDLESS, "max_tokens": 440, "n": 12}
    alone = service.http.post("/v1/chat/completions", json=body | {"model": "iteration-0", "n": 1}).json()
    swaps = 0
    texts = [""] * 12
    with service.http.stream(
        "POST", "/v1/chat/completions", json=body | {"model": "current", "stream": True}
    ) as stream:
        for line in stream.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            assert (chunk["model"], chunk["system_fingerprint"]) == ("iteration-0", f"sha256:{sha256_of(first)}")
            for choice in chunk["choices"]:
                texts[choice["index"]] += choice["delta"].get("content") or ""
            if swaps < 3 and len(texts[0]) > 40 * (swaps + 1):
                # Back and forth: the third swap makes the adapter current again that the stream would fall back to.
                iteration = [1, 2, 1][swaps]
                if swaps < 2:
                    assert service.load(later[swaps], iteration).status_code == 200
                assert service.post("/current", iteration=iteration).status_code == 200
                swaps += 1
    assert swaps == 3
    assert texts == [alone["choices"][0]["message"]["content"]] * 12
    assert text(service.ask(model="current", max_tokens=60)) == text(service.ask(model="iteration-1", max_tokens=60))
