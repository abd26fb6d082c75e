"""The owner's routes: what they answer to bad input, whom they serve, and what they do not disclose.  Real processes over HTTP."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.owner.owner_cluster import ROOT, OwnerCluster, owner_command
from tests.waiting import until

pytestmark = pytest.mark.process

CANARY = "Xylophonquappe"


@pytest.fixture(scope="module", autouse=True)
def no_log_holds_what_came_in(tuned_cluster: OwnerCluster) -> Iterator[None]:
    """Whatever the tests of this file sent, in whichever order: it is in no log, and nothing failed over it."""
    yield
    tuned_cluster.begin("de")
    tuned_cluster.chat(CANARY)
    log = tuned_cluster.log.read_text(encoding="utf-8")
    assert "Run" in log
    assert CANARY not in log
    assert "Traceback" not in log


def test_while_a_language_is_awaited_prompts_get_a_sentence(tuned_cluster: OwnerCluster) -> None:
    # At our own door; the original's answers as it always has (`tests/owner/test_before_a_run.py`).
    tuned_cluster.end()
    reply = tuned_cluster.owner.post("/chat", json={"prompt": CANARY})
    assert reply.status_code == 409
    assert "language" in reply.json()["error"]
    assert tuned_cluster.owner.get("/station?station=a").json() == {"language": None, "exchanges": []}


def bodies() -> dict[str, bytes]:
    def body(**fields: object) -> bytes:
        return json.dumps({"prompt": CANARY} | fields).encode()

    return {
        "empty": body(prompt=""),
        "white": body(prompt=" \n\t "),
        "nothing": b"",
        "no JSON": CANARY.encode(),
        "no object": json.dumps([CANARY]).encode(),
        "no prompt": json.dumps({"x": CANARY}).encode(),
        "a number": body(prompt=17),
        "binary": bytes(range(256)),
        "not UTF-8": b'{"prompt": "' + CANARY.encode() + b'\xe4\xf6"}',
        "half a character": b'{"prompt": "' + CANARY.encode() + b'\\ud83d"}',
        "control characters": body(prompt=f"{CANARY}\x00\x1b[2J"),
        "hot": body(temperature=9),
        "not a number": b'{"prompt": "' + CANARY.encode() + b'", "temperature": NaN}',
        "top_p": body(top_p=0),
    }


@pytest.mark.parametrize("path", ["/chat", "/generate_gui"])
@pytest.mark.parametrize("body", bodies().values(), ids=list(bodies()))
def test_bad_bodies_get_a_sentence_and_no_echo(tuned_cluster: OwnerCluster, path: str, body: bytes) -> None:
    if tuned_cluster.state()["phase"] == "waiting":
        tuned_cluster.begin("de")
    reply = tuned_cluster.owner.post(path, content=body)
    assert reply.status_code == 400
    assert reply.json()["error"].endswith(".")
    assert CANARY not in reply.text


def test_more_bad_input(run: OwnerCluster) -> None:
    before = run.counts()["visitor"]
    large = run.owner.post("/chat", json={"prompt": CANARY * 5000})
    assert large.status_code == 413
    long = run.owner.post("/chat", json={"prompt": "x" * 3000})
    assert (long.status_code, "shorten" in long.json()["error"]) == (400, True)
    assert run.owner.post("/generate_gui", json={"prompt": "x" * 3000}).status_code == 400
    unknown = run.owner.post("/chat", json={"prompt": "hi", "language": CANARY})
    assert (unknown.status_code, "de, en" in unknown.json()["error"]) == (400, True)
    assert run.owner.post("/chat", json={"prompt": "hi", CANARY: 1}).status_code == 400
    assert run.owner.post("/chat", json={"prompt": "hi", "station": "x" * 65}).status_code == 400
    assert run.owner.get("/events", params={"station": "x" * 65}).status_code == 400
    for reply in (large, long, unknown):
        assert CANARY not in reply.text
    assert run.counts()["visitor"] == before
    assert run.chat("geht noch")[-1][0] == "end"


def test_unknown_doors_get_a_sentence(tuned_cluster: OwnerCluster) -> None:
    reply = tuned_cluster.owner.get(f"/{CANARY}")
    assert (reply.status_code, "door" in reply.json()["error"]) == (404, True)
    assert tuned_cluster.owner.get("/language").status_code == 405


def test_an_unknown_language_names_those_there_are(tuned_cluster: OwnerCluster) -> None:
    reply = tuned_cluster.owner.post("/language", json={"language": "fr"})
    assert reply.status_code == 400
    assert "de, en" in reply.json()["error"]


def test_a_run_is_restarted_from_a_trusted_host_only(run: OwnerCluster) -> None:
    first = run.state()["run"]
    refused = run.owner.post("/language", json={"language": "de"}, headers={"X-Forwarded-For": "203.0.113.7"})
    assert refused.status_code == 409
    assert run.state()["run"] == first
    joined = run.owner.post("/language", json={"language": "de", "join": True})
    assert joined.json() == {"status": "success"}
    assert run.state()["run"] == first
    assert run.owner.post("/language", json={"language": "de"}).json() == {"status": "success"}
    assert run.state()["run"] != first


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example", "Content-Type": "text/plain"},
        {"Content-Type": "text/plain"},
        {"Origin": "http://[::1"},
        {"Host": "evil.example:8000", "Origin": "http://evil.example:8000", "Content-Type": "application/json"},
    ],
    ids=["cross-site", "text/plain", "no origin at all", "rebound"],
)
def test_another_sites_page_restarts_nothing(run: OwnerCluster, headers: dict[str, str]) -> None:
    first = run.state()["run"]
    reply = run.owner.post("/language", content=b'{"language": "de"}', headers=headers)
    assert reply.status_code in (403, 415, 421) and reply.json()["error"].endswith(".")
    assert run.state()["run"] == first


def test_from_elsewhere_a_run_may_be_started_while_one_is_awaited(tuned_cluster: OwnerCluster) -> None:
    tuned_cluster.end()
    reply = tuned_cluster.owner.post("/language", json={"language": "en"}, headers={"X-Forwarded-For": "203.0.113.7"})
    assert reply.status_code == 200
    assert tuned_cluster.state()["language"] == "en"


def test_the_same_language_at_both_doors_is_one_start(tuned_cluster: OwnerCluster) -> None:
    tuned_cluster.end()
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    tuned_cluster.owner.post("/language", json={"language": "de"}, headers=elsewhere)
    first = tuned_cluster.state()["run"]
    twin = {"X-WMKML-Via": "inference"} | elsewhere
    assert tuned_cluster.owner.post("/language", json={"language": "de"}, headers=twin).status_code == 200
    assert tuned_cluster.state()["run"] == first
    # Once: a third one is a start of its own.
    assert tuned_cluster.owner.post(
        "/language", json={"language": "de"}, headers={"X-WMKML-Via": "inference"}
    ).is_success
    assert tuned_cluster.state()["run"] != first


def test_another_language_at_the_other_door_is_another_start(tuned_cluster: OwnerCluster) -> None:
    tuned_cluster.start_run("de")
    first = tuned_cluster.state()["run"]
    assert tuned_cluster.owner.post(
        "/language", json={"language": "en"}, headers={"X-WMKML-Via": "inference"}
    ).is_success
    assert (tuned_cluster.state()["language"], tuned_cluster.state()["run"] != first) == ("en", True)


def test_typing_is_told_to_osc(tuned_cluster: OwnerCluster) -> None:
    tuned_cluster.osc_addresses()
    assert tuned_cluster.owner.post("/typing_event", json={"status": "typing", "more": 1}).json() == {"ok": True}
    assert tuned_cluster.osc_addresses() == ["/user_activity"]
    assert tuned_cluster.owner.post("/typing_event", json={"status": CANARY}).status_code == 400


def test_an_adapter_can_be_loaded_by_hand(run: OwnerCluster) -> None:
    folder = run.paths.models / "by-hand"
    if not folder.exists():
        run.write_adapter(folder)
    reply = run.owner.post("/reload", json={"path": str(folder), "iteration": 40})
    assert reply.status_code == 200, reply.text
    assert reply.json()["model"] == "iteration-40"
    assert run.chat("wer antwortet?")[0][1]["iteration"] == 40
    assert ["current", 40] in run.stand_in_state()["calls"]


def test_what_is_no_adapter_is_not_loaded(run: OwnerCluster, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    run.write_adapter(outside)
    empty = run.paths.models / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    for path in (str(outside), str(run.paths.models / "missing"), str(empty), "/etc", f"{empty}/../../x", "a\x00b"):
        reply = run.owner.post("/reload", json={"path": path, "iteration": 41})
        assert reply.status_code == 400, path
        assert reply.json()["error"].endswith(".")
    body = {"path": str(outside), "iteration": 41}
    assert run.owner.post("/reload", json=body, headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 403
    assert run.state()["iteration"] == -1


def test_keys_open_their_own_doors(tuned_cluster: OwnerCluster) -> None:
    keys = tuned_cluster.keys
    doors = [("GET", "/operator/pairs", keys.operator), ("POST", "/operator/end", keys.operator)]
    doors += [("POST", "/worker/claim", keys.worker), ("GET", "/events", keys.stage)]
    for method, path, right in doors:
        for wrong in {"", "wrong", "ключ".encode().decode("latin-1"), keys.stage, keys.worker} - {right}:
            reply = tuned_cluster.owner.request(method, path, headers={b"X-Key": wrong.encode("latin-1")})
            assert reply.status_code == 401, (path, wrong)
            assert "key" in reply.json()["error"]


@pytest.mark.parametrize("path", ["/station", "/station?station=", "/events", "/events?station="])
def test_what_callers_without_a_station_said_is_shown_with_a_key_alone(run: OwnerCluster, path: str) -> None:
    run.owner.post("/generate_gui", json={"prompt": CANARY})
    for wrong in ({}, {"X-Key": "wrong"}, {"X-Key": run.keys.worker}):
        reply = run.owner.get(path, headers=wrong)
        assert (reply.status_code, "key" in reply.json()["error"]) == (401, True)
    for right in (run.keys.stage, run.keys.operator):
        with run.owner.stream("GET", path, headers={"X-Key": right}) as reply:
            assert reply.status_code == 200
    assert [exchange["prompt"] for exchange in run.shared_exchanges()] == [CANARY]


def test_health_and_state_hold_no_words(run: OwnerCluster) -> None:
    run.chat(CANARY)
    assert run.owner.get("/healthz").json() == {
        "ok": True,
        "phase": "running",
        "inference": "ready",
        "worker": run.state()["worker"],
    }
    assert CANARY not in run.owner.get("/state").text


def test_nothing_a_visitor_said_is_left_after_the_run(run: OwnerCluster) -> None:
    run.chat(f"Ich heiße {CANARY}", station=CANARY)
    until(lambda: run.counts()["echo"] == 2, "the echoes")
    data = run.paths.data
    files = [path for path in data.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert files, "the run itself knows it"
    assert run.end().status_code == 200
    until(lambda: not list(run.paths.runs.iterdir()), "the empty folder")
    assert not [path for path in data.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"finetuning.dataset_array": [["no_such_set"]]}, "no_such_set"),
        ({"general.available_datasets": ["empty"]}, "empty"),
        ({"general.available_datasets": ["there"], "finetuning.dataset_array": [["empty"]]}, "available_datasets"),
    ],
)
def test_a_dataset_that_cannot_be_used_refuses_the_start(
    tmp_path: Path, overrides: dict[str, object], named: str
) -> None:
    for name, content in (("empty", ""), ("there", "Eine Frage?\n")):
        (tmp_path / "sets" / name).mkdir(parents=True)
        (tmp_path / "sets" / name / "prompts.csv").write_text(content, encoding="utf-8")
    cluster = OwnerCluster(tmp_path, **{"general.datasets_folder": str(tmp_path / "sets")} | overrides)
    done = subprocess.run(owner_command(cluster.config), cwd=ROOT, capture_output=True, text=True, timeout=60)
    cluster.stop()
    assert done.returncode == 2
    assert named in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use_refuses_the_start(tuned_cluster: OwnerCluster, tmp_path: Path) -> None:
    second = OwnerCluster(tmp_path, **{"general.owner_port": tuned_cluster.settings.general.owner_port})
    done = subprocess.run(owner_command(second.config), cwd=ROOT, capture_output=True, text=True, timeout=60)
    second.stop()
    assert done.returncode == 2
    assert str(tuned_cluster.settings.general.owner_port) in done.stderr and "Traceback" not in done.stderr
    assert tuned_cluster.owner.get("/healthz").status_code == 200


def test_without_inference_the_owner_lives_and_says_so(tmp_path: Path) -> None:
    cluster = OwnerCluster(tmp_path)
    try:
        cluster.start_owner()
        assert cluster.owner.get("/healthz").json()["inference"] == "away"
        cluster.start_run("de")
        with pytest.raises(httpx.ReadTimeout):
            cluster.owner.post("/chat", json={"prompt": "jemand da?"}, timeout=1.0)
        cluster.start_inference()
        cluster.until_phase("running")
        assert cluster.chat("jetzt?")[-1][0] == "end"
    finally:
        cluster.stop()


def test_a_line_that_was_idle_longer_than_a_client_keeps_one_is_still_open(tuned_cluster: OwnerCluster) -> None:
    url = tuned_cluster.owner.base_url
    line = http.client.HTTPConnection(url.host, url.port, timeout=10)
    line.request("GET", "/healthz")
    line.getresponse().read()
    line.auto_open = 0  # a line that the owner has closed is not quietly replaced by a new one
    time.sleep(6)
    line.request("GET", "/healthz")
    assert line.getresponse().status == 200
    line.close()


def test_no_answer_may_be_read_or_shown_by_another_site(run: OwnerCluster) -> None:
    for path in ("/state", "/station?station=a", "/generate_gui", "/stage/runtime", "/nothing"):
        reply = run.owner.get(path, headers={"Origin": "http://evil.example"})
        assert reply.headers["x-content-type-options"] == "nosniff", path
        assert reply.headers["cross-origin-resource-policy"] == "same-origin", path
        assert "frame-ancestors" in reply.headers["content-security-policy"], path
        assert not [name for name in reply.headers if name.startswith("access-control-")], path
    preflight = run.owner.options(
        "/language", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status_code == 405
    page = run.owner.get("/")
    assert page.status_code != 200 or "script-src 'self'" in page.headers["content-security-policy"]
