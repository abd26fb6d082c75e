"""Two inference services, a head and its node, each with its own engine and no disk in common: who answers, and who is left."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.engine.random_model import RANK, make_adapter
from tests.inference.probes import read, with_probe
from tests.inference.requests import ENDLESS, text
from tests.inference.service import InferenceProcess, running
from tests.waiting import until
from wmkml.engine.protocol import Adapter, Engine, Generation, GenerationRefusedError, Sampling, Step
from wmkml.engine.remote_engine import RemoteEngine
from wmkml.engine.setup import EngineSetup
from wmkml.engine.transformers_engine import TransformersEngine
from wmkml.inference.nodes import node as node_module
from wmkml.inference.nodes.node import Node
from wmkml.inference.nodes.spread_engine import SpreadEngine, continued
from wmkml.inference.swap_proof import SwapProver
from wmkml.models.fingerprint import model_fingerprint
from wmkml.system.ports import free_port

pytestmark = pytest.mark.process

KEY = "key-of-head-and-nodes"
TOKENS = 150
"""Of an answer whose node is killed or falls silent in its middle: more than are made until the test sees that it is there."""


@pytest.fixture(scope="module")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters in turn, each with its probe."""
    folder = tmp_path_factory.mktemp("adapters")
    first = with_probe(model, make_adapter(model, folder / "a0", seed=40))
    return [first, with_probe(model, make_adapter(model, folder / "a1", seed=41), read(model, first))]


def write_key(folder: Path, key: str = KEY) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "node_key.txt").write_text(key + "\n")


@contextlib.contextmanager
def node_running(folder: Path, model: Path, port: int, key: str = KEY, **more: Any) -> Iterator[InferenceProcess]:
    write_key(folder, key)
    with running(folder, model, arguments=["--node"], general__inference_port=port, **more) as node:
        yield node


@dataclass
class HeadAndNode:
    """The head, its node's port, and what is asked of both."""

    head: InferenceProcess
    ports: dict[str, int]

    def states(self) -> dict[str, dict[str, Any]]:
        """The nodes' states by their names here."""
        states = {state["address"]: state for state in self.head.http.get("/healthz").json()["nodes"]}
        return {name: states[f"127.0.0.1:{port}"] for name, port in self.ports.items()}

    def wait_for(self, state: str, name: str = "node") -> dict[str, Any]:
        return until(lambda: now if (now := self.states()[name])["state"] == state else None, f"{name} {state}")

    def load(self, adapter: Path, iteration: int) -> None:
        folder = self.head.runs / "run" / f"a{iteration}"
        shutil.copytree(adapter, folder)
        reply = self.head.load(folder, iteration)
        assert reply.json()["proof"]["verdict"] == "proved", reply.text
        assert self.head.post("/current", iteration=iteration).status_code == 200


@pytest.fixture(scope="module")
def cluster(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeadAndNode]:
    """A head with three nodes in its settings: two that may not answer, and one that is started by the tests."""
    folder = tmp_path_factory.mktemp("cluster")
    ports = {name: free_port() for name in ("node", "other model", "other key", "nobody")}
    other = Path(shutil.copytree(model, folder / "other"))
    change = other / "generation_config.json"
    change.write_text(change.read_text().replace("350", "349"))
    write_key(folder / "head")
    with (
        node_running(folder / "b", other, ports["other model"], ready=False),
        node_running(
            folder / "c", model, ports["other key"], "another", general__trusted_hosts=["192.0.2.1"], ready=False
        ),
        running(folder / "head", model, inference__nodes=[f"127.0.0.1:{port}" for port in ports.values()]) as head,
    ):
        yield HeadAndNode(head, ports)


def stream_many(cluster: HeadAndNode, count: int, tokens: int) -> list[Any]:
    """Ask that many times at once; returns futures of the replies."""
    pool = ThreadPoolExecutor(count)
    futures = [pool.submit(cluster.head.ask, max_tokens=tokens, model="current", **ENDLESS) for _ in range(count)]
    pool.shutdown(wait=False)
    return futures


def test_nodes_that_must_not_answer_are_named_with_why(cluster: HeadAndNode) -> None:
    assert "another one than here" in cluster.wait_for("refused", "other model")["reason"]
    assert "does not take this installation's key" in cluster.wait_for("refused", "other key")["reason"]
    assert cluster.states()["nobody"]["reason"] == "nobody answers there"
    assert cluster.head.ask().status_code == 200


def test_a_node_is_given_the_adapters_and_a_killed_one_loses_no_answer(
    cluster: HeadAndNode, model: Path, adapters: list[Path], tmp_path: Path
) -> None:
    cluster.load(adapters[0], 0)
    alone = text(cluster.head.ask(max_tokens=TOKENS, model="current", **ENDLESS))
    with node_running(tmp_path / "node", model, cluster.ports["node"]) as node:
        cluster.wait_for("answers")
        assert node.http.get("/healthz").json()["adapters"] == 1, "it came over HTTP, with its probe"
        assert len(list((tmp_path / "node" / "data" / "serving").iterdir())) == 1
        futures = stream_many(cluster, 8, TOKENS)
        until(lambda: cluster.states()["node"]["answers"], "some of them there")
        os.killpg(node.process.pid, signal.SIGKILL)
        replies = [future.result() for future in futures]
        assert [text(reply) for reply in replies] == [alone] * 8
        assert len({reply.json()["system_fingerprint"] for reply in replies}) == 1
        assert "An answer goes on elsewhere, after" in cluster.head.log
        cluster.wait_for("away")
        # A round that comes while it is away counts without it.
        cluster.load(adapters[1], 1)
        current = text(cluster.head.ask(max_tokens=TOKENS, model="current", **ENDLESS))
        assert current != alone
    with node_running(tmp_path / "node", model, cluster.ports["node"]) as node:
        cluster.wait_for("answers")
        assert node.http.get("/healthz").json()["adapters"] == 2
        futures = stream_many(cluster, 6, TOKENS)
        until(lambda: cluster.states()["node"]["answers"], "some of them there")
        assert [text(future.result()) for future in futures] == [current] * 6
        # Silent, and not gone.
        futures = stream_many(cluster, 6, TOKENS)
        until(lambda: cluster.states()["node"]["answers"], "some of them there")
        node.process.send_signal(signal.SIGSTOP)
        assert [text(future.result()) for future in futures] == [current] * 6
        assert "does not answer" in cluster.wait_for("away")["reason"]
        node.process.send_signal(signal.SIGCONT)
        cluster.wait_for("answers")
        assert cluster.head.post("/unload").status_code == 200
        assert node.http.get("/healthz").json()["adapters"] == 0
        assert list((tmp_path / "node" / "data" / "serving").iterdir()) == []


def test_a_rotated_key_leaves_a_node_out_until_it_has_it(cluster: HeadAndNode, model: Path, tmp_path: Path) -> None:
    untrusted: dict[str, Any] = {"general__trusted_hosts": ["192.0.2.1"]}  # this machine's own address opens nothing
    with node_running(tmp_path / "node", model, cluster.ports["node"], ready=False, **untrusted):
        cluster.wait_for("answers")
        write_key(cluster.head.folder, "a-new-key-of-the-head")
        assert "keys take node" in cluster.wait_for("refused")["reason"]
        assert cluster.head.ask().status_code == 200, "the others answer"
        write_key(tmp_path / "node", "a-new-key-of-the-head")
        cluster.wait_for("answers")
        write_key(cluster.head.folder)
    assert "a-new-key-of-the-head" not in cluster.head.log


async def test_the_rest_of_an_answer_is_what_the_whole_would_have_been(model: Path) -> None:
    engine = TransformersEngine(EngineSetup(model, adapters=1, rank=RANK, dtype="float32", threads=1))
    await engine.start()
    for penalty in (-2.0, 0.7):
        sampling = Sampling(0.0, 1.0, max_tokens=40, frequency_penalty=penalty)
        broken_off = 0
        for start in range(10, 130, 30):
            whole = Generation(f"{penalty} {start}", tuple(range(start, start + 20)), sampling)
            tokens = [step.token async for step in engine.generate(whole)]
            for place in (1, 5, 12):
                if place < len(tokens):
                    broken_off += 1
                    rest = [step.token async for step in engine.generate(continued(whole, tokens[:place]))]
                    assert tokens[:place] + rest == tokens
        assert broken_off > 3
    await engine.stop()
    assert continued(whole, tokens[:5]).sampling.max_tokens == 35


def test_the_hash_of_a_model_sees_weights_and_configuration(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    assert model_fingerprint(copy) == model_fingerprint(model)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_fingerprint(copy) != model_fingerprint(model)


class DeafEngine:
    """An engine that takes adapters, says that they are loaded, and answers without them."""

    name = "deaf"

    def __init__(self, base: tuple[float, ...]) -> None:
        self._base = list(base)
        self.window = 512
        self.loaded: list[Adapter] = []

    def alive(self) -> bool:
        return True

    async def load(self, adapter: Adapter) -> None:
        self.loaded.append(adapter)

    async def log_probabilities(self, tokens: Sequence[int], adapter: Adapter | None) -> list[list[float]]:
        return [self._base]


async def test_a_node_that_does_not_use_its_adapter_is_left_and_the_swap_counts_without_it(
    model: Path, adapters: list[Path]
) -> None:
    setup = EngineSetup(model, adapters=2, rank=RANK)
    here, there = DeafEngine(read(model, None)), DeafEngine(read(model, None))
    node = Node("10.0.0.7:8011", lambda: KEY, "wmkml", setup, "")
    node._engine, node._prover = cast("RemoteEngine", there), SwapProver(cast("Engine", there))
    node.admit()
    engine = SpreadEngine(cast("Engine", here), [node], capacity=2)
    adapter = Adapter("a", 1, adapters[0])
    await engine.load(adapter)
    assert here.loaded == there.loaded == [adapter]
    [state] = engine.node_states()
    assert state.state == "refused" and "the engine does not use this adapter" in state.reason
    assert node.answers_with(None) is None


HTML = b"<!doctype html><title>Welcome to nginx!</title>"


@contextlib.contextmanager
def web_server(answers: Iterator[bytes]) -> Iterator[str]:
    """The address of a server that answers each request with the next of these, as a page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = next(answers)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("body", [HTML, b"[]", b"7", b'{"copies": 1}', b'{"copies": "many", "window": 1, "model": ""}'])
async def test_what_is_no_node_is_refused_and_asked_again(
    model: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(node_module, "REFUSED_SECONDS", 0.01)
    asked = 0

    def answers() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield body

    async def load_nothing(_: Node) -> None:
        return

    with web_server(answers()) as address:
        node = Node(address, lambda: KEY, "wmkml", EngineSetup(model, adapters=2, rank=RANK), "")
        keeping = asyncio.create_task(node.keep(load_nothing))
        async with asyncio.timeout(20):
            while asked < 3:
                await asyncio.sleep(0.01)
                assert not keeping.done()
            while node.state != "refused":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert "is no node: start it with --join" in node.reason
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_whatever_goes_wrong_a_node_is_asked_again(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_module, "RETRY_SECONDS", 0.01)
    tries = 0

    async def join(node: Node, _: object) -> bool:
        nonlocal tries
        tries += 1
        raise ArithmeticError("nobody foresaw this")

    monkeypatch.setattr(Node, "_join", join)
    node = Node("127.0.0.1:9", lambda: KEY, "wmkml", EngineSetup(model, adapters=2, rank=RANK), "")
    keeping = asyncio.create_task(node.keep(cast("Any", None)))
    async with asyncio.timeout(60):
        while tries < 3:
            await asyncio.sleep(0.01)
            assert not keeping.done()
    assert (node.state, node.reason) == ("away", "an error of the head's: ArithmeticError")
    assert "nobody foresaw this" in caplog.text
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


class UnreadableEngine(DeafEngine):
    """An engine that refuses to read a probe."""

    async def log_probabilities(self, tokens: Sequence[int], adapter: Adapter | None) -> list[list[float]]:
        raise GenerationRefusedError("The deployment refuses this request (status 400).")

    async def unload(self, adapter: Adapter) -> None:
        self.loaded.remove(adapter)


async def test_a_node_that_refuses_the_probe_is_left(model: Path, adapters: list[Path]) -> None:
    setup = EngineSetup(model, adapters=2, rank=RANK)
    here, there = UnreadableEngine(()), UnreadableEngine(())
    node = Node("10.0.0.7:8011", lambda: KEY, "wmkml", setup, "")
    node._engine, node._prover = cast("RemoteEngine", there), SwapProver(cast("Engine", there))
    node.admit()
    engine = SpreadEngine(cast("Engine", here), [node], capacity=1)
    await engine.load(Adapter("a", 1, adapters[0]))
    assert node.state == "refused" and "status 400" in node.reason
    assert [adapter.name for adapter in here.loaded] == ["a"]


async def test_an_adapter_whose_spreading_breaks_down_takes_no_place(
    model: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(_node: Node, _adapter: Adapter) -> None:
        raise ArithmeticError("nobody foresaw this")

    monkeypatch.setattr(Node, "load_and_prove", break_down)
    here = UnreadableEngine(())
    node = Node("10.0.0.7:8011", lambda: KEY, "wmkml", EngineSetup(model, adapters=2, rank=RANK), "")
    node.admit()
    engine = SpreadEngine(cast("Engine", here), [node], capacity=1)
    for number, path in enumerate(adapters, 1):
        with pytest.raises(ArithmeticError):
            await engine.load(Adapter(f"a{number}", number, path))
    assert here.loaded == []


class SlowEngine(DeafEngine):
    """An engine whose answers are a token long, and end when it is told."""

    def __init__(self) -> None:
        super().__init__(())
        self.asked = 0
        self.may_end = asyncio.Event()

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        self.asked += 1
        await self.may_end.wait()
        yield Step(1, 0.0, (), "length")


async def turns() -> None:
    """Let every task go on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("copies", "there"), [(1, 4), (3, 6)])
async def test_answers_under_way_are_spread_by_the_copies_of_the_model(model: Path, copies: int, there: int) -> None:
    here, far = SlowEngine(), SlowEngine()
    node = Node("10.0.0.7:8011", lambda: KEY, "wmkml", EngineSetup(model, adapters=2, rank=RANK), "")
    node._engine, node.copies = cast("RemoteEngine", far), copies
    node.admit()
    engine = SpreadEngine(cast("Engine", here), [node], capacity=1)

    async def ask(number: int) -> None:
        generation = Generation(str(number), (1, 2), Sampling(0.0, 1.0, max_tokens=1))
        assert [step.token async for step in engine.generate(generation)] == [1]

    answers = [asyncio.create_task(ask(number)) for number in range(8)]
    await turns()
    assert (here.asked, far.asked) == (8 - there, there)
    # An engine that becomes free is the next one's.
    far.may_end.set()
    await turns()
    answers.append(asyncio.create_task(ask(8)))
    here.may_end.set()
    await asyncio.gather(*answers)
    assert far.asked == there + 1
