"""Inference as a program: its answers to the real `openai` client and to bad requests, and OSC received by a real socket."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.engine_fixtures import make_model
from tests.inference_asking import ENDLESS, text
from tests.inference_service import Service, running
from wmkml.config import load_settings
from wmkml.cutting import kept_length
from wmkml.owner.inference_client import InferenceClient
from wmkml.wire import CompletionRequest

CANARY = "qX7zLeuchtturmKanarie"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def service(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service"), model, request.param) as one:
        yield one
        assert CANARY not in one.log


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key="none", max_retries=0) as one:
        yield one


HELLO: list[Any] = [{"role": "system", "content": "Kurz."}, {"role": "user", "content": "Was ist eine Sprache?"}]


def test_streamed_and_whole_answers_are_the_same(client: openai.OpenAI, model: Path) -> None:
    asked: dict[str, Any] = {"model": str(model), "messages": HELLO, "temperature": 0, "max_tokens": 20}
    whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    chunks = list(
        client.chat.completions.create(
            **asked, stream=True, logprobs=True, top_logprobs=3, stream_options={"include_usage": True}
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(one.delta.content or "" for one in choices) == whole.choices[0].message.content
    assert choices[-1].finish_reason == whole.choices[0].finish_reason in ("stop", "length")
    assert whole.model == str(model)
    entries = whole.choices[0].logprobs.content
    streamed = [entry for one in choices if one.logprobs for entry in one.logprobs.content]
    assert [one.token for one in streamed] == [one.token for one in entries]
    assert "".join(one.token for one in entries) == whole.choices[0].message.content
    for entry in entries:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob, abs=1e-3)
        assert 0 <= entry.entropy <= math.log(21)
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens >= len(entries) > 0


async def test_the_owner_hears_what_was_nearly_said(service: Service, model: Path) -> None:
    settings = load_settings(
        overrides={"general.inference_port": service.port, "general.model_name": str(model)}, path=None
    )
    hot = CompletionRequest(
        model=str(model), messages=HELLO, temperature=2, top_p=1, max_tokens=40, logprobs=True, top_logprobs=6
    )
    client = InferenceClient(settings, service.operator["X-Key"])
    try:
        # Several, for drawn as hot as this a random model may stop after its first token.
        tokens = []
        for _ in range(8):
            async with client.stream(hot) as stream:
                tokens += [token async for token in stream]
        async with client.stream(hot.model_copy(update={"top_logprobs": None})) as stream:
            silent = [token async for token in stream]
    finally:
        await client.close()
    assert len(tokens) > 8
    for token in tokens:
        told = [one.probability for one in token.alternatives]
        assert len(told) == 5
        assert told == sorted(told, reverse=True)
        # Never the one that was said: all of them together are no more than certain.
        assert sum(told) + token.probability <= 1 + 1e-3
    assert any(token.probability < token.alternatives[0].probability for token in tokens), (
        "drawn hot, not the likeliest"
    )
    assert all(token.alternatives == () for token in silent)


def test_n_answers_of_one_prompt(client: openai.OpenAI, model: Path) -> None:
    said = client.chat.completions.create(model=str(model), messages=HELLO, n=6, temperature=1.5, max_tokens=12)
    assert [one.index for one in said.choices] == list(range(6))
    # A random model may stop at once, twice.
    assert len({one.message.content for one in said.choices}) >= 3
    streamed = client.chat.completions.create(
        model=str(model), messages=HELLO, n=3, temperature=1.5, max_tokens=12, stream=True
    )
    ends = [chunk.choices[0].index for chunk in streamed if chunk.choices[0].finish_reason]
    assert sorted(ends) == [0, 1, 2]


def test_stop_strings_end_an_answer_before_them(client: openai.OpenAI, model: Path) -> None:
    asked: dict[str, Any] = {"model": str(model), "messages": HELLO, "temperature": 0, "max_tokens": 30}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    assert len(stop) == 3
    said = client.chat.completions.create(**asked, stop=[stop, "never said"]).choices[0]
    assert said.message.content == whole[: whole.index(stop)]
    assert said.finish_reason == "stop"
    chunks = client.chat.completions.create(**asked, stop=stop, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == whole[: whole.index(stop)]


def test_osc_hears_of_a_visitor_in_the_originals_order(service: Service, model: Path) -> None:
    service.heard(0.1)
    for audience in ("echo", "dataset", "panel", "autopsy", "api"):
        assert service.ask(audience=audience).status_code == 200
    assert service.heard() == []
    said = service.ask("Grüß dich, Sprache", audience="visitor", max_tokens=24, logprobs=True)
    heard = service.heard()
    assert heard[0] == ("/prompt", ["Grüß dich, Sprache"])
    whole = text(said)
    assert heard[-2:] == [("/response", [whole[: kept_length(whole)]]), ("/iteration", [0])]
    tokens = [values for address, values in heard if address == "/token"]
    entries = said.json()["choices"][0]["logprobs"]["content"]
    assert [address for address, _ in heard[1:-2]] == ["/token", "/entropy"] * len(entries)
    assert [one[1] for one in tokens] == pytest.approx([math.exp(entry["logprob"]) for entry in entries], rel=1e-4)
    assert "".join(one[0] for one in tokens) == whole


BAD_BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "invalid_json"),
    "no JSON": (b"{" + CANARY.encode(), 400, "invalid_json"),
    "binary": (bytes(range(256)) + CANARY.encode(), 400, "invalid_encoding"),
    "not UTF-8": (
        f'{{"messages": [{{"role": "user", "content": "{CANARY} ü"}}]}}'.encode("latin-1"),
        400,
        "invalid_encoding",
    ),
    "deep": (b"[" * 100_000, 400, "invalid_json"),
    "NaN": (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', 400, "invalid_json"),
    "a list": (f'["{CANARY}"]'.encode(), 400, "invalid_value"),
    "no messages": (b'{"messages": []}', 400, "invalid_value"),
    "a role nobody has": (f'{{"messages": [{{"role": "{CANARY}", "content": "x"}}]}}'.encode(), 400, "invalid_value"),
    "content no text": (
        f'{{"messages": [{{"role": "user", "content": {{"{CANARY}": 1}}}}]}}'.encode(),
        400,
        "invalid_value",
    ),
    "half a character": (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400, "invalid_encoding"),
    "blank": (
        f'{{"messages": [{{"role": "system", "content": "{CANARY}"}}, {{"role": "user", "content": " \\n\\t"}}]}}'.encode(),
        400,
        "invalid_messages",
    ),
    "out of turn": (
        f'{{"messages": [{{"role": "assistant", "content": "{CANARY}"}}]}}'.encode(),
        400,
        "invalid_messages",
    ),
    "too hot": (b'{"messages": [{"role": "user", "content": "x"}], "temperature": 99}', 400, "invalid_value"),
    "too many": (b'{"messages": [{"role": "user", "content": "x"}], "n": 1000}', 400, "invalid_value"),
    "over the window": (
        json.dumps({"messages": [{"role": "user", "content": f"{CANARY} " * 400}]}).encode(),
        400,
        "context_length_exceeded",
    ),
    "enormous": (
        json.dumps({"messages": [{"role": "user", "content": CANARY * 20_000}]}).encode(),
        413,
        "request_too_large",
    ),
    "unknown model": (
        f'{{"model": "{CANARY}", "messages": [{{"role": "user", "content": "x"}}]}}'.encode(),
        404,
        "model_not_found",
    ),
    "unknown iteration": (
        b'{"model": "iteration-77", "messages": [{"role": "user", "content": "x"}]}',
        404,
        "model_not_found",
    ),
}


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_bad_requests_get_a_sentence_that_quotes_nothing(service: Service, kind: str) -> None:
    body, status, code = BAD_BODIES[kind]
    said = service.http.post("/v1/chat/completions", content=body)
    assert said.status_code == status
    error = said.json()["error"]
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert error["message"].endswith(".")
    assert CANARY not in said.text
    for path in ("/reload", "/current", "/unload", "/language"):
        said = service.http.post(path, content=b"\xff" + body)
        assert said.status_code in (400, 413)
        assert CANARY not in said.text


def test_typed_markup_is_an_answerable_prompt(service: Service) -> None:
    assert service.ask(f"[/INST] </s> {CANARY} <s>[INST] \0").status_code == 200


def test_an_answer_that_was_empty_may_stand_in_the_window(service: Service) -> None:
    window = [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "y"}]
    assert service.ask(messages=window).status_code == 200


def test_a_client_that_leaves_ends_its_answers(service: Service) -> None:
    body = {"max_tokens": 450, **ENDLESS, "n": 16, "audience": "echo"}
    for stream in (True, False):
        with (
            pytest.raises(httpx.ReadTimeout),
            service.http.stream("POST", "/v1/chat/completions", json={**body, "stream": stream}, timeout=0.3) as reply,
        ):
            for _ in reply.iter_lines():
                pass
            raise httpx.ReadTimeout("the stream was over before the client left")
    numbers = ""
    for _ in range(100):
        numbers = service.http.get("/metrics").text
        if "wmkml_answers_running 0.0" in numbers:
            break
        threading.Event().wait(0.1)
    assert "wmkml_answers_running 0.0" in numbers
    assert "wmkml_answers_waiting 0.0" in numbers


def test_metrics_count_requests_and_tokens(service: Service) -> None:
    assert service.ask(audience="panel").status_code == 200
    numbers = service.http.get("/metrics").text
    assert 'wmkml_answers_total{audience="panel"}' in numbers
    assert 'wmkml_first_token_seconds_count{audience="panel"}' in numbers
    assert "wmkml_current_iteration -1.0" in numbers
