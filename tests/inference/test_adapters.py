"""Inference as a program: adapters are loaded and unloaded while it answers, and what the owner decides is forwarded to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.engine.random_model import change_weights, make_adapter
from tests.inference.requests import ENDLESS, text
from tests.inference.service import InferenceProcess

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [make_adapter(model, folder / f"a{seed}", seed=seed) for seed in range(3)]


@pytest.fixture
def clean(service: InferenceProcess) -> Iterator[None]:
    """Unload all adapters and drop the OSC messages after the test."""
    yield
    assert service.post("/unload").status_code == 200
    service.osc_messages(0.1)


def place(service: InferenceProcess, adapter: Path, name: str) -> Path:
    return Path(shutil.copytree(adapter, service.runs / "run" / name))


def test_models_are_the_base_and_every_loaded_iteration(
    service: InferenceProcess, client: openai.OpenAI, model: Path, adapters: list[Path], clean: None
) -> None:
    assert [model_card.id for model_card in client.models.list()] == [str(model)]
    for iteration in (0, 2):
        path = place(service, adapters[iteration], f"models-{iteration}")
        reply = service.load(path, iteration).json()
        assert (reply["status"], reply["model"]) == ("success", f"iteration-{iteration}")
    assert [model_card.id for model_card in client.models.list()] == [str(model), "iteration-0", "iteration-2"]


def test_a_new_adapter_answers_from_now_on_and_streams_finish_on_the_old(
    service: InferenceProcess, adapters: list[Path], clean: None
) -> None:
    service.osc_messages(0.1)
    base = text(service.ask(model="current"))
    assert service.post("/current", iteration=-1).status_code == 200
    first, second = (place(service, adapters[number], f"swap-{number}") for number in (0, 1))
    assert service.load(first, 0).status_code == 200
    assert text(service.ask(model="current")) == base
    assert service.osc_messages() == []
    assert service.post("/current", iteration=0).status_code == 200
    assert service.osc_messages() == [("/swap", [1])]
    of_first = text(service.ask(model="current", max_tokens=100))
    assert (
        text(service.ask(model="iteration-0", max_tokens=100))
        == of_first
        != text(service.ask(max_tokens=100, model="current", temperature=1.9))
    )
    body = {"messages": [{"role": "user", "content": "Hallo"}], "max_tokens": 100, "temperature": 0, "stream": True}
    with service.http.stream("POST", "/v1/chat/completions", json={**body, "model": "iteration-0"}) as stream:
        lines = stream.iter_lines()
        first_line = next(lines)
        # The same iteration again: new requests use the new adapter, and the old folder may be deleted.
        assert service.load(second, 0).status_code == 200
        shutil.rmtree(first)
        shutil.rmtree(second)
        of_second = text(service.ask(model="iteration-0", max_tokens=100))
        events = [line.removeprefix("data: ") for line in [first_line, *lines] if line]
    assert events[-1] == "[DONE]"
    streamed = "".join(json.loads(event)["choices"][0]["delta"]["content"] for event in events[:-1])
    assert streamed == of_first != of_second


def test_the_same_adapter_twice_is_loaded_once(service: InferenceProcess, adapters: list[Path], clean: None) -> None:
    path = place(service, adapters[0], "twice")
    for _ in range(9):
        assert service.load(path, 3).status_code == 200
    copies = list((service.folder / "data" / "serving").iterdir())
    assert len(copies) == 1


def test_unloading_ends_what_is_being_said_and_leaves_no_file(service: InferenceProcess, adapters: list[Path]) -> None:
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
    "kind", ["missing", "a" * 300, "a file", "NaN", "no adapter", "other rank", "other model", "outside", "link"]
)
def test_bad_adapters_are_refused_with_a_sentence(
    service: InferenceProcess, model: Path, adapters: list[Path], tmp_path: Path, kind: str
) -> None:
    def spoil(tensors: dict[str, Any]) -> dict[str, Any]:
        next(iter(tensors.values()))[0, 0] = float("nan")
        return tensors

    path = service.runs / "bad" / kind  # the long one is longer than a file's name can be
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
                lambda tensors: {key.replace("layers.0", "layers.9"): tensor for key, tensor in tensors.items()},
            )
        case "outside":
            path = adapters[0]
        case "link":
            path.unlink(missing_ok=True)
            path.symlink_to(adapters[0])
    reply = service.load(path, 1)
    assert reply.status_code == (403 if kind in ("outside", "link") else 400)
    assert reply.json()["error"].endswith(".")
    if kind in ("a file", "link"):
        path.unlink()
    assert service.http.get("/healthz").json()["iterations"] == [-1]
    assert service.ask().status_code == 200


ForwardedRequests = list[tuple[str, dict[str, str], Any]]


@contextlib.contextmanager
def owner_of(service: InferenceProcess) -> Iterator[ForwardedRequests]:
    """Start an owner that answers every request with a success; yields path, headers and body of what it receives."""
    forwarded: ForwardedRequests = []

    class OwnerHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            forwarded.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            answer = b'{"status": "success"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", service.owner_port), OwnerHandler) as owner:
        serving = threading.Thread(target=owner.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield forwarded
        owner.shutdown()
        serving.join()


def test_language_goes_on_to_the_owner_and_says_where_it_came_from(service: InferenceProcess) -> None:
    refused = service.post("/language", language="de")
    assert refused.status_code == 503
    assert refused.json()["error"].endswith(".")
    with owner_of(service) as forwarded:
        reply = service.post("/language", language="en", somethingElse=1)
        assert (reply.status_code, reply.json()) == (200, {"status": "success"})
        forwarded_twice = service.http.post(
            "/language", json={"language": "en"}, headers={"X-Forwarded-For": "203.0.113.9"}
        )
        assert forwarded_twice.status_code == 200
    path, headers, body = forwarded[0]
    assert (path, body["language"]) == ("/language", "en")
    assert (headers["x-forwarded-for"], headers["x-wmkml-via"]) == ("127.0.0.1", "inference")
    assert forwarded[1][1]["x-forwarded-for"] == "203.0.113.9, 127.0.0.1"


def test_a_reload_by_somebody_else_is_the_owners_to_decide(
    service: InferenceProcess, adapters: list[Path], clean: None
) -> None:
    path = place(service, adapters[0], "by-hand")
    with owner_of(service) as forwarded:
        reply = service.post("/reload", path=os.path.relpath(path, service.folder), iteration=3)
        assert (reply.status_code, reply.json()) == (200, {"status": "success"})
        assert service.http.get("/healthz").json()["iterations"] == [-1], "it comes from the owner, with its key"
        reload = {"path": str(path), "iteration": 3}
        assert [(route, body) for route, _, body in forwarded] == [("/reload", reload)]
        assert forwarded[0][1]["x-forwarded-for"] == "127.0.0.1"
        assert service.load(path, 3).json()["model"] == "iteration-3"
        assert len(forwarded) == 1, "the owner is not asked what it asked for itself"
    assert service.http.post("/current", json={"iteration": -1}).status_code == 200
    service.osc_messages(0.1)
    # Without an owner, nobody is to be notified.
    assert service.post("/reload", path=str(path), iteration=3).json()["model"] == "iteration-3"
    assert service.http.get("/healthz").json()["current"] == 3
    assert service.osc_messages() == [("/swap", [4])]


def test_without_nodes_there_is_nothing_of_them(service: InferenceProcess) -> None:
    assert service.http.get("/healthz").json()["nodes"] == []
    assert not (service.folder / "data" / "node_key.txt").exists()


def test_a_proxy_on_this_machine_lends_nobody_its_trust(service: InferenceProcess) -> None:
    for headers, status in (({}, 200), ({"X-Forwarded-For": "203.0.113.9"}, 403), ({"X-Forwarded-For": "::1"}, 200)):
        assert service.http.get("/healthz", headers=headers).status_code == status
    with_key = {"X-Forwarded-For": "203.0.113.9", **service.operator}
    assert service.http.get("/healthz", headers=with_key).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/unload", '{"iterations": null}'),
        ("/current", '{"iteration": -1}'),
        ("/language", '{"language": "de"}'),
        ("/reload", '{"path": "x", "iteration": 0}'),
        ("/v1/chat/completions", '{"messages": [{"role": "user", "content": "a"}]}'),
    ],
)
def test_another_sites_page_is_not_obeyed(service: InferenceProcess, path: str, body: str) -> None:
    rebound = {"Host": "evil.example:8011", "Origin": "http://evil.example:8011", "Content-Type": "application/json"}
    for headers, status in (
        ({"Content-Type": "text/plain"}, 415),
        ({"Origin": "http://evil.example", "Content-Type": "text/plain"}, 403),
        (rebound, 421),
    ):
        assert service.http.post(path, content=body, headers=headers).status_code == status
    assert service.http.get("/v1/models", headers={"Host": "evil.example"}).status_code == 421


def test_a_number_that_no_engine_can_hold_is_refused(service: InferenceProcess) -> None:
    messages = [{"role": "user", "content": "a"}]
    for name in ("max_tokens", "max_completion_tokens"):
        reply = service.http.post("/v1/chat/completions", json={"messages": messages, name: 1e20})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_value")
    assert service.http.post("/current", json={"iteration": 1e20}).status_code == 400
