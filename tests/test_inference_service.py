"""Inference as a program: real processes, the real `openai` client, OSC received by a real socket."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.engine_fixtures import change_weights, make_adapter, make_model
from tests.inference_service import DOOR, Service, running
from wmkml.config import load_settings
from wmkml.cutting import kept_length
from wmkml.leftovers import VARIABLE, mark_of
from wmkml.owner.inference_client import InferenceClient
from wmkml.wire import CompletionRequest

CANARY = "qX7zLeuchtturmKanarie"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [make_adapter(model, folder / f"a{seed}", seed=seed) for seed in range(3)]


@pytest.fixture(scope="module", params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def service(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service"), model, request.param) as one:
        yield one
        assert CANARY not in one.log


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key="none", max_retries=0) as one:
        yield one


@pytest.fixture
def clean(service: Service) -> Iterator[None]:
    yield
    assert service.post("/unload").status_code == 200
    service.heard(0.1)


def place(service: Service, adapter: Path, name: str) -> Path:
    return Path(shutil.copytree(adapter, service.runs / "run" / name))


def text(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


HELLO: list[Any] = [{"role": "system", "content": "Kurz."}, {"role": "user", "content": "Was ist eine Sprache?"}]
ENDLESS: dict[str, Any] = {
    "messages": [{"role": "user", "content": "A language"}],
    "temperature": 0,
    "frequency_penalty": -2,
}
"""What was said once is likelier ever after: the base model's answer to this goes on until its length."""


def test_models_are_the_base_and_every_loaded_iteration(
    service: Service, client: openai.OpenAI, model: Path, adapters: list[Path], clean: None
) -> None:
    assert [one.id for one in client.models.list()] == [str(model)]
    for iteration in (0, 2):
        path = place(service, adapters[iteration], f"models-{iteration}")
        said = service.load(path, iteration).json()
        assert (said["status"], said["model"]) == ("success", f"iteration-{iteration}")
    assert [one.id for one in client.models.list()] == [str(model), "iteration-0", "iteration-2"]


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
        async with client.stream(hot) as stream:
            tokens = [token async for token in stream]
        async with client.stream(hot.model_copy(update={"top_logprobs": None})) as stream:
            silent = [token async for token in stream]
    finally:
        await client.close()
    assert len(tokens) > 1
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


def test_a_new_adapter_answers_from_now_on_and_streams_finish_on_the_old(
    service: Service, adapters: list[Path], clean: None
) -> None:
    service.heard(0.1)
    base = text(service.ask(model="current"))
    assert service.post("/current", iteration=-1).status_code == 200
    first, second = (place(service, adapters[one], f"swap-{one}") for one in (0, 1))
    assert service.load(first, 0).status_code == 200
    assert text(service.ask(model="current")) == base
    assert service.heard() == []
    assert service.post("/current", iteration=0).status_code == 200
    assert service.heard() == [("/swap", [1])]
    of_first = text(service.ask(model="current", max_tokens=100))
    assert (
        text(service.ask(model="iteration-0", max_tokens=100))
        == of_first
        != text(service.ask(max_tokens=100, model="current", temperature=1.9))
    )
    body = {"messages": [{"role": "user", "content": "Hallo"}], "max_tokens": 100, "temperature": 0, "stream": True}
    with service.http.stream("POST", "/v1/chat/completions", json={**body, "model": "iteration-0"}) as stream:
        lines = stream.iter_lines()
        begun = next(lines)
        # The same number again: replaced for new requests, and its folder may go.
        assert service.load(second, 0).status_code == 200
        shutil.rmtree(first)
        shutil.rmtree(second)
        of_second = text(service.ask(model="iteration-0", max_tokens=100))
        events = [line.removeprefix("data: ") for line in [begun, *lines] if line]
    assert events[-1] == "[DONE]"
    streamed = "".join(json.loads(one)["choices"][0]["delta"]["content"] for one in events[:-1])
    assert streamed == of_first != of_second


def test_the_same_adapter_twice_is_loaded_once(service: Service, adapters: list[Path], clean: None) -> None:
    path = place(service, adapters[0], "twice")
    for _ in range(9):
        assert service.load(path, 3).status_code == 200
    copies = list((service.folder / "data" / "serving").iterdir())
    assert len(copies) == 1


def test_unloading_ends_what_is_being_said_and_leaves_no_file(service: Service, adapters: list[Path]) -> None:
    path = place(service, adapters[2], "unloaded")
    assert service.load(path, 1).status_code == 200
    body = {"max_tokens": 400, **ENDLESS, "stream": True, "model": "iteration-1", "n": 16}
    with service.http.stream("POST", "/v1/chat/completions", json=body) as stream:
        lines = (line for line in stream.iter_lines() if line)
        next(lines)
        assert service.post("/unload", iterations=[1]).json()["unloaded"] == [1]
        last = json.loads(list(lines)[-1].removeprefix("data: "))
    assert last["error"]["code"] == "iteration_unloaded"
    assert service.ask(model="iteration-1").status_code == 404
    assert list((service.folder / "data" / "serving").iterdir()) == []
    assert service.ask().status_code == 200


@pytest.mark.parametrize(
    "kind", ["missing", "a file", "NaN", "no adapter", "other rank", "other model", "outside", "link"]
)
def test_bad_adapters_are_refused_with_a_sentence(
    service: Service, model: Path, adapters: list[Path], tmp_path: Path, kind: str
) -> None:
    def spoil(tensors: dict[str, Any]) -> dict[str, Any]:
        next(iter(tensors.values()))[0, 0] = float("nan")
        return tensors

    path = service.runs / "bad" / kind
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    match kind:
        case "a file":
            path.write_text("nothing")
        case "NaN":
            change_weights(Path(shutil.copytree(adapters[0], path)), spoil)
        case "no adapter":
            path.mkdir()
        case "other rank":
            make_adapter(model, path, rank=4)
        case "other model":
            change_weights(
                Path(shutil.copytree(adapters[0], path)),
                lambda some: {key.replace("layers.0", "layers.9"): one for key, one in some.items()},
            )
        case "outside":
            path = adapters[0]
        case "link":
            path.unlink(missing_ok=True)
            path.symlink_to(adapters[0])
    said = service.load(path, 1)
    assert said.status_code == (403 if kind in ("outside", "link") else 400)
    assert said.json()["error"].endswith(".")
    if path.is_symlink() or path.is_file():
        path.unlink()
    assert service.http.get("/healthz").json()["iterations"] == [-1]
    assert service.ask().status_code == 200


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


Heard = list[tuple[str, dict[str, str], Any]]


@contextlib.contextmanager
def owner_of(service: Service) -> Iterator[Heard]:
    """An owner that answers anything with a success, and what it was asked: path, headers, body."""
    heard: Heard = []

    class Owner(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            answer = b'{"status": "success"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", service.owner_port), Owner) as owner:
        serving = threading.Thread(target=owner.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield heard
        owner.shutdown()
        serving.join()


def test_language_goes_on_to_the_owner_and_says_where_it_came_from(service: Service) -> None:
    away = service.post("/language", language="de")
    assert away.status_code == 503
    assert away.json()["error"].endswith(".")
    with owner_of(service) as heard:
        said = service.post("/language", language="en", somethingElse=1)
        assert (said.status_code, said.json()) == (200, {"status": "success"})
        behind = service.http.post("/language", json={"language": "en"}, headers={"X-Forwarded-For": "203.0.113.9"})
        assert behind.status_code == 200
    path, headers, body = heard[0]
    assert (path, body["language"]) == ("/language", "en")
    assert (headers["x-forwarded-for"], headers["x-wmkml-via"]) == ("127.0.0.1", "inference")
    assert heard[1][1]["x-forwarded-for"] == "203.0.113.9, 127.0.0.1"


def test_a_reload_by_somebody_else_is_the_owners_to_decide(service: Service, adapters: list[Path], clean: None) -> None:
    path = place(service, adapters[0], "by-hand")
    with owner_of(service) as heard:
        said = service.post("/reload", path=os.path.relpath(path, service.folder), iteration=3)
        assert (said.status_code, said.json()) == (200, {"status": "success"})
        assert service.http.get("/healthz").json()["iterations"] == [-1], "it comes from the owner, with its key"
        asked = {"path": str(path), "iteration": 3}
        assert [(one, body) for one, _, body in heard] == [("/reload", asked)]
        assert heard[0][1]["x-forwarded-for"] == "127.0.0.1"
        assert service.load(path, 3).json()["model"] == "iteration-3"
        assert len(heard) == 1, "the owner is not asked what it asked for itself"
    assert service.http.post("/current", json={"iteration": -1}).status_code == 200
    service.heard(0.1)
    # Without an owner there is nobody else to hear of it.
    assert service.post("/reload", path=str(path), iteration=3).json()["model"] == "iteration-3"
    assert service.http.get("/healthz").json()["current"] == 3
    assert service.heard() == [("/swap", [4])]


def test_a_proxy_on_this_machine_lends_nobody_its_trust(service: Service) -> None:
    for headers, status in (({}, 200), ({"X-Forwarded-For": "203.0.113.9"}, 403), ({"X-Forwarded-For": "::1"}, 200)):
        assert service.http.get("/healthz", headers=headers).status_code == status
    keyed = {"X-Forwarded-For": "203.0.113.9", **service.operator}
    assert service.http.get("/healthz", headers=keyed).status_code == 200


def test_from_elsewhere_a_key_is_needed(model: Path, tmp_path: Path) -> None:
    with running(tmp_path, model, ready=False, general__trusted_hosts=["192.0.2.1"]) as service:
        for _ in range(1200):
            if (tmp_path / "data" / "keys.json").exists() and "Ready" in service.log:
                break
            threading.Event().wait(0.1)
        keys = json.loads((tmp_path / "data" / "keys.json").read_text())
        for path in ("/healthz", "/metrics", "/v1/models", "/nothing"):
            assert service.http.get(path).status_code == 403
            assert service.http.get(path, headers={"X-Key": "ü".encode()}).status_code == 403
        assert service.post("/reload", path="x", iteration=0).status_code == 403
        assert service.ask().json()["error"]["code"] == "key_needed"
        assert service.post("/language", language="de").status_code == 503  # let through; no owner is there
        assert service.http.get("/healthz", headers={"X-Key": keys["operator"]}).status_code == 200
        assert service.http.get("/healthz", params={"key": keys["operator"]}).status_code == 200
        assert service.http.get("/healthz", headers={"X-Key": keys["stage"]}).status_code == 403
        with openai.OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=keys["operator"]) as client:
            assert [one.id for one in client.models.list()] == [str(model)]


def test_a_port_in_use_and_a_model_that_is_none_are_told_of(model: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with running(tmp_path / "a", model, ready=False, general__inference_port=taken.getsockname()[1]) as service:
            assert service.process.wait(60) == 2
            assert "cannot be used" in service.log
            assert "Traceback" not in service.log
    with running(tmp_path / "b", tmp_path / "nowhere", ready=False) as service:
        assert service.process.wait(60) == 2
        assert "Inference cannot start" in service.log
        assert "Traceback" not in service.log


def marked(service: Service) -> list[psutil.Process]:
    mark, found = mark_of("inference", service.folder / "data"), []
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.vllm
def test_a_killed_engine_ends_the_service_and_a_killed_service_leaves_nothing_to_the_next(
    model: Path, tmp_path: Path
) -> None:
    with running(tmp_path, model, "vllm") as service:
        children = marked(service)
        assert any(one.name().startswith("VLLM::Engine") for one in children)
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
        assert any(one.name().startswith("VLLM") for one in marked(service))
    with running(tmp_path, model, "vllm") as service:
        assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children)
        body = {"max_tokens": 480, **ENDLESS, "stream": True, "n": 8}
        children = marked(service)
        with service.http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = (line for line in stream.iter_lines() if line)
            next(lines)
            for one in children:
                one.kill()
            last = json.loads(list(lines)[-1].removeprefix("data: "))
        assert last["error"]["code"] == "engine_died"
        assert service.process.wait(30) == 1
        assert marked(service) == []


def test_told_to_leave_it_leaves_with_everything(model: Path, tmp_path: Path) -> None:
    with running(tmp_path, model) as service:
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(service.ask, max_tokens=400, n=16, **ENDLESS)
            service.process.terminate()
            assert service.process.wait(30) == 0
            asking.exception()
        assert psutil.pid_exists(service.process.pid) is False or service.process.returncode == 0
    assert "Traceback" not in service.log


@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_told_to_leave_while_loading_it_leaves_at_once_with_its_children(
    model: Path, tmp_path: Path, engine: str
) -> None:
    with running(tmp_path, model, engine, ready=False) as service:
        while "being loaded" not in service.log:
            assert service.process.poll() is None
            threading.Event().wait(0.05)
        assert service.http.get("/healthz").status_code == 503
        assert service.ask().json()["error"]["code"] == "loading"
        service.process.terminate()
        assert service.process.wait(30) == 0
        assert marked(service) == []


def test_the_door_explains_itself() -> None:
    said = subprocess.run([sys.executable, str(DOOR), "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "--engine" in said.stdout
