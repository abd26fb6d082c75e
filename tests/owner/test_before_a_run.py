"""`POST /generate_gui` before a language is chosen: the base model answers in `system_language`, and nothing of it is kept.

The original's frontends ask before they have chosen a language.  Our own `/chat` refuses that with 409.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until

pytestmark = pytest.mark.process

CANARY = "Xylophonquappe"
ANSWER = {"text": "Ein Haus aus Wörtern.", "iteration": -1}
"""The stand-in's answer, cut at the end of its sentence."""


@pytest.fixture
def waiting(tuned_cluster: OwnerCluster) -> OwnerCluster:
    """The module's cluster while a language is awaited."""
    if tuned_cluster.state()["phase"] != "waiting":
        tuned_cluster.end()
        tuned_cluster.until_phase("waiting")
    until(lambda: tuned_cluster.state()["inference"] == "ready", "inference without adapters")
    return tuned_cluster


def generate(cluster: OwnerCluster, prompt: str = CANARY, **more: Any) -> httpx.Response:
    """Ask at the original's door."""
    return cluster.owner.post("/generate_gui", json={"prompt": prompt, **more})


def requests_of(cluster: OwnerCluster, prompt: str) -> list[dict[str, Any]]:
    """What inference was asked with this prompt as the last message."""
    requests = cluster.stand_in_state()["requests"]
    return [request for request in requests if request["messages"][-1]["content"] == prompt]


def heard_until(cluster: OwnerCluster, event: str, act: Callable[[], None]) -> str:
    """What the stage's event stream says, its past included, from before `act` up to the first event of this name."""
    with cluster.owner.stream("GET", "/events", params={"past": "1"}, headers={"X-Key": cluster.keys.stage}) as stage:
        act()
        heard = ""
        for line in stage.iter_lines():
            heard += f"{line}\n"
            if line == f"event: {event}":
                break
        return heard


def test_the_base_model_answers_in_the_system_language(waiting: OwnerCluster) -> None:
    reply = generate(waiting, "Was ist ein Haus?", unknown=1)
    assert (reply.status_code, reply.json()) == (200, ANSWER)
    [request] = requests_of(waiting, "Was ist ein Haus?")
    assert request["model"] == "understudy"
    inference = waiting.settings.inference
    assert request["messages"] == [
        {"role": "system", "content": inference.system_prompts[inference.system_language]},
        {"role": "user", "content": "Was ist ein Haus?"},
    ]
    assert request["audience"] == "visitor", "inference sends /prompt, /response and /iteration for visitors alone"
    assert (request["temperature"], request["top_p"]) == (0.61, 0.86)
    assert (request["max_tokens"], request["frequency_penalty"]) == (77, 0.5)
    assert generate(waiting, "wärmer", temperature=1.1, top_p=0.5, station="s").json() == ANSWER
    [request] = requests_of(waiting, "wärmer")
    assert (request["temperature"], request["top_p"]) == (1.1, 0.5)
    assert len(request["messages"]) == 2, "there is no conversation, whatever the station"


def test_another_system_language_is_answered_in(tmp_path: Path) -> None:
    with started_cluster(tmp_path, **{"inference.system_language": "en"}) as cluster:
        assert generate(cluster, "hello").json() == ANSWER
        [request] = requests_of(cluster, "hello")
        assert request["messages"][0]["content"] == cluster.settings.inference.system_prompts["en"]


def test_nothing_of_it_is_stored_published_or_trained_on(tmp_path: Path) -> None:
    with started_cluster(tmp_path) as cluster:
        assert generate(cluster).json() == ANSWER
        assert generate(cluster, station="a").json() == ANSWER
        assert cluster.owner.post("/chat", json={"prompt": CANARY}).status_code == 409
        assert cluster.state()["phase"] == "waiting" and cluster.state()["pairs"]["visitor"] == 0
        cluster.begin("de")
        assert cluster.counts()["visitor"] == cluster.counts()["echo"] == 0
        assert cluster.shared_exchanges() == []
        cluster.chat("Und jetzt?", station="a")
        [*_, (_, end)] = cluster.chat("Wirklich?", station="a")
        assert end["text"] == ANSWER["text"]
        [request] = requests_of(cluster, "Und jetzt?")[:1]
        assert CANARY not in json.dumps(request), "the window holds only what was said in the run"
        past = heard_until(cluster, "response", lambda: None)
        assert "Und jetzt?" in past and CANARY not in past
        job = cluster.claim()
        assert job["iteration"] == 0 and CANARY not in json.dumps(job)
        until(lambda: cluster.counts()["echo"] == 4, "the echoes of the two prompts of the run, and of no other")
        asked = [request["audience"] for request in requests_of(cluster, CANARY)]
        assert asked == ["visitor", "visitor"]
        with_word = [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
        assert with_word == [], "neither run nor log has it"


def test_no_listener_hears_of_it(waiting: OwnerCluster) -> None:
    def act() -> None:
        assert generate(waiting).json() == ANSWER
        # The event after it, before which its own would have come.
        waiting.owner.post("/typing_event", json={"status": "typing"})

    heard = heard_until(waiting, "typing", act)
    assert not any(f"event: {name}\n" in heard for name in ("prompt", "start", "token", "response"))
    assert CANARY not in heard and "Haus" not in heard


def test_a_run_that_begins_meanwhile_gets_nothing_of_it(waiting: OwnerCluster) -> None:
    waiting.behave(pause=0.2)
    try:
        with ThreadPoolExecutor() as pool:
            early = pool.submit(generate, waiting)
            until(lambda: waiting.stand_in_state()["under_way"] == 1, "the answer under way")
            waiting.begin("en")
            assert early.result().json() == ANSWER
    finally:
        waiting.behave(pause=0.0)
    assert waiting.counts()["visitor"] == 0 and waiting.shared_exchanges() == []


def test_what_inference_refuses_is_refused_as_in_a_run(waiting: OwnerCluster) -> None:
    long = generate(waiting, "x" * 3000)
    assert (long.status_code, "shorten" in long.json()["error"]) == (400, True)
    assert generate(waiting, " \n").status_code == 400
    assert generate(waiting, CANARY * 5000).status_code == 413
    waiting.behave(fails_over="unglücklich")
    try:
        reply = generate(waiting, "unglücklich")
        assert (reply.status_code, "failed" in reply.json()["error"]) == (500, True)
    finally:
        waiting.behave(fails_over=None)
    assert waiting.state()["inference"] == "ready"


def test_it_waits_while_inference_is_away_and_is_asked_again_when_it_breaks_off(tmp_path: Path) -> None:
    cluster = OwnerCluster(tmp_path)
    try:
        cluster.start_owner()
        with ThreadPoolExecutor() as pool:
            early = pool.submit(generate, cluster)
            with pytest.raises(TimeoutError):
                early.result(1.0)
            cluster.start_inference()
            assert early.result(30).json() == ANSWER
            cluster.behave(break_next=True, pause=0.05)
            broken = pool.submit(generate, cluster, "noch einmal")
            assert cluster.inference_process is not None
            cluster.inference_process.wait(30)
            cluster.start_inference()
            assert broken.result(30).json() == ANSWER
        assert len(requests_of(cluster, "noch einmal")) == 1, "by the second inference; the first died with its own"
    finally:
        cluster.stop()
