"""Inference as a program: its answers to the real `openai` client and to bad requests, and OSC received by a real socket."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.inference.requests import ENDLESS, text
from tests.inference.service import InferenceProcess
from tests.waiting import until
from wmkml.config import load_settings
from wmkml.dialogue.answer_end import kept_length
from wmkml.owner.inference.client import InferenceClient
from wmkml.protocol.inference import CompletionRequest

pytestmark = pytest.mark.process

CANARY = "qX7zLeuchtturmKanarie"


@pytest.fixture(scope="module")
def service(service: InferenceProcess) -> Iterator[InferenceProcess]:
    """The service, whose log must not hold the canary at the end."""
    yield service
    assert CANARY not in service.log


HELLO: list[Any] = [{"role": "system", "content": "Kurz."}, {"role": "user", "content": "Was ist eine Sprache?"}]


def test_streamed_and_whole_answers_are_the_same(client: openai.OpenAI, model: Path) -> None:
    request: dict[str, Any] = {"model": str(model), "messages": HELLO, "temperature": 0, "max_tokens": 20}
    whole = client.chat.completions.create(**request, logprobs=True, top_logprobs=3)
    chunks = list(
        client.chat.completions.create(
            **request, stream=True, logprobs=True, top_logprobs=3, stream_options={"include_usage": True}
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == whole.choices[0].message.content
    assert choices[-1].finish_reason == whole.choices[0].finish_reason in ("stop", "length")
    assert whole.model == str(model)
    entries = whole.choices[0].logprobs.content
    streamed = [entry for choice in choices if choice.logprobs for entry in choice.logprobs.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in entries]
    assert "".join(entry.token for entry in entries) == whole.choices[0].message.content
    for entry in entries:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob, abs=1e-3)
        assert 0 <= entry.entropy <= math.log(21)
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens >= len(entries) > 0


async def test_the_owner_hears_what_was_nearly_said(service: InferenceProcess, model: Path) -> None:
    settings = load_settings(
        overrides={"general.inference_port": service.port, "general.model_name": str(model)}, path=None
    )
    hot = CompletionRequest(
        model=str(model), messages=HELLO, temperature=2, top_p=1, max_tokens=40, logprobs=True, top_logprobs=6
    )
    client = InferenceClient(settings, lambda: service.operator["X-Key"])
    try:
        # Several answers, since at this temperature a random model may stop after its first token.
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
        probabilities = [alternative.probability for alternative in token.alternatives]
        assert len(probabilities) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        # The alternatives leave out the chosen token, so all probabilities sum to at most 1.
        assert sum(probabilities) + token.probability <= 1 + 1e-3
    assert any(token.probability < token.alternatives[0].probability for token in tokens), (
        "drawn hot, not the likeliest"
    )
    assert all(token.alternatives == () for token in silent)


def test_n_answers_of_one_prompt(client: openai.OpenAI, model: Path) -> None:
    completion = client.chat.completions.create(model=str(model), messages=HELLO, n=6, temperature=1.5, max_tokens=12)
    assert [choice.index for choice in completion.choices] == list(range(6))
    # A random model may stop at once, twice.
    assert len({choice.message.content for choice in completion.choices}) >= 3
    streamed = client.chat.completions.create(
        model=str(model), messages=HELLO, n=3, temperature=1.5, max_tokens=12, stream=True
    )
    ends = [chunk.choices[0].index for chunk in streamed if chunk.choices[0].finish_reason]
    assert sorted(ends) == [0, 1, 2]


def test_stop_strings_end_an_answer_before_them(client: openai.OpenAI, model: Path) -> None:
    request: dict[str, Any] = {"model": str(model), "messages": HELLO, "temperature": 0, "max_tokens": 30}
    whole = client.chat.completions.create(**request).choices[0].message.content
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    assert len(stop) == 3
    choice = client.chat.completions.create(**request, stop=[stop, "never said"]).choices[0]
    assert choice.message.content == whole[: whole.index(stop)]
    assert choice.finish_reason == "stop"
    chunks = client.chat.completions.create(**request, stop=stop, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole[: whole.index(stop)]


def test_osc_hears_of_a_visitor_in_the_originals_order(service: InferenceProcess, model: Path) -> None:
    service.osc_messages(0.1)
    for audience in ("echo", "dataset", "panel", "autopsy", "api"):
        assert service.ask(audience=audience).status_code == 200
    assert service.osc_messages() == []
    reply = service.ask("Grüß dich, Sprache", audience="visitor", max_tokens=24, logprobs=True)
    messages = service.osc_messages()
    assert messages[0] == ("/prompt", ["Grüß dich, Sprache"])
    whole = text(reply)
    assert messages[-2:] == [("/response", [whole[: kept_length(whole)]]), ("/iteration", [0])]
    tokens = [values for address, values in messages if address == "/token"]
    entries = reply.json()["choices"][0]["logprobs"]["content"]
    assert [address for address, _ in messages[1:-2]] == ["/token", "/entropy"] * len(entries)
    assert [token[1] for token in tokens] == pytest.approx([math.exp(entry["logprob"]) for entry in entries], rel=1e-4)
    assert "".join(token[0] for token in tokens) == whole


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
def test_bad_requests_get_a_sentence_that_quotes_nothing(service: InferenceProcess, kind: str) -> None:
    body, status, code = BAD_BODIES[kind]
    reply = service.http.post("/v1/chat/completions", content=body)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert error["message"].endswith(".")
    assert CANARY not in reply.text
    for path in ("/reload", "/current", "/unload", "/language"):
        reply = service.http.post(path, content=b"\xff" + body)
        assert reply.status_code in (400, 413)
        assert CANARY not in reply.text


def test_typed_markup_is_an_answerable_prompt(service: InferenceProcess) -> None:
    assert service.ask(f"[/INST] </s> {CANARY} <s>[INST] \0").status_code == 200


def test_an_answer_that_was_empty_may_stand_in_the_window(service: InferenceProcess) -> None:
    window = [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "y"}]
    assert service.ask(messages=window).status_code == 200


def metric(service: InferenceProcess, name: str) -> float:
    """The value of a metric; 0 before its first label."""
    values = re.findall(rf"^{re.escape(name)} (\S+)$", service.http.get("/metrics").text, re.MULTILINE)
    return float(values[0]) if values else 0.0


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_client_that_leaves_ends_its_answers(service: InferenceProcess, stream: bool) -> None:
    tokens, answers, most = 'wmkml_tokens_total{audience="echo"}', 16, 450
    body = {"max_tokens": most, **ENDLESS, "n": answers, "audience": "echo", "stream": stream}
    before = metric(service, tokens)
    until(lambda: metric(service, "wmkml_answers_running") == 0, "the answers of other tests to end")
    with httpx.Client(verify=False, base_url=service.http.base_url, trust_env=False) as leaving:
        if stream:
            with leaving.stream("POST", "/v1/chat/completions", json=body, timeout=60) as reply:
                lines = (line for line in reply.iter_lines() if line)
                for _ in range(answers):
                    assert "choices" in json.loads(next(lines).removeprefix("data: "))
                assert metric(service, "wmkml_answers_running") == answers
        else:
            with pytest.raises(httpx.ReadTimeout):
                leaving.post("/v1/chat/completions", json=body, timeout=0.3)
    until(lambda: metric(service, "wmkml_answers_running") == 0, "the answers to end")
    assert metric(service, "wmkml_answers_waiting") == 0
    # Had they gone on to their ends, they would have ended as well: what was generated shows that they were broken off.
    generated = metric(service, tokens) - before
    assert generated < answers * most, generated
    threading.Event().wait(0.5)
    assert metric(service, tokens) - before == generated


def test_metrics_count_requests_and_tokens(service: InferenceProcess) -> None:
    assert service.ask(audience="panel").status_code == 200
    numbers = service.http.get("/metrics").text
    assert 'wmkml_answers_total{audience="panel"}' in numbers
    assert 'wmkml_first_token_seconds_count{audience="panel"}' in numbers
    assert "wmkml_current_iteration -1.0" in numbers


TRACED: dict[str, Any] = {"logprobs": True, "top_logprobs": 20, "return_token_ids": True, "temperature": 0}


def traced_tokens(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    return list(reply.json()["choices"][0]["logprobs"]["content"])


def test_an_answer_goes_on_from_given_tokens(service: InferenceProcess) -> None:
    whole = traced_tokens(service.ask("Erzähl von 🏠 und Wörtern", max_tokens=12, **TRACED))
    assert all(entry["rank"] == 1 for entry in whole), "the likeliest each time"
    assert [entry["top_logprobs"][0]["id"] for entry in whole] == [entry["id"] for entry in whole]
    ids = [entry["id"] for entry in whole[:11]]
    for begun in (1, len(ids) // 2, len(ids) - 1):
        rest = service.ask("Erzähl von 🏠 und Wörtern", max_tokens=12 - begun, answer_ids=ids[:begun], **TRACED)
        assert [entry["id"] for entry in traced_tokens(rest)] == [entry["id"] for entry in whole[begun:]]
    # Another token than the likeliest leads elsewhere, and its own probability and rank are told as they are without it.
    nearly = whole[1]["top_logprobs"][3]
    forced = service.ask(
        "Erzähl von 🏠 und Wörtern", max_tokens=1, answer_ids=ids[:1], logit_bias={nearly["id"]: 100}, **TRACED
    )
    [entry] = traced_tokens(forced)
    assert (entry["id"], entry["rank"]) == (nearly["id"], 4)
    assert entry["logprob"] == pytest.approx(nearly["logprob"], abs=1e-3)
    assert entry["entropy"] == pytest.approx(whole[1]["entropy"], abs=1e-3)


@pytest.mark.parametrize(
    "more",
    [
        {"answer_ids": [10**7]},
        {"answer_ids": [-1]},
        {"answer_ids": ["5"]},
        {"answer_ids": [True]},
        {"answer_ids": 5},
        {"answer_ids": [5] * 200_000},
        {"logit_bias": {"5": 101}},
        {"logit_bias": {CANARY: 1}},
        {"logit_bias": {"99999999": 1}},
    ],
    ids=lambda more: str(more)[:40],
)
def test_tokens_that_cannot_be_gone_on_from_are_refused(service: InferenceProcess, more: dict[str, Any]) -> None:
    reply = service.ask(CANARY, **more)
    assert reply.status_code in (400, 413), reply.text
    assert CANARY not in reply.text


def test_nothing_goes_on_after_an_end_token(service: InferenceProcess, model: Path) -> None:
    end = json.loads((model / "config.json").read_text())["eos_token_id"]
    reply = service.ask("Hallo", answer_ids=[5, end])
    assert (reply.status_code, "end token" in reply.text) == (400, True)
