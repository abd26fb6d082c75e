"""The owner's doors: what each says to bad input, whom it opens to, and what it keeps to itself.  Real processes over HTTP."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.doors_house import doors_house
from tests.owner_house import ROOT, START, House, until

CANARY = "Xylophonquappe"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with doors_house(tmp_path_factory.mktemp("house")) as one:
        yield one


@pytest.fixture
def run(house: House) -> House:
    """A run that has just begun."""
    house.begin("de")
    return house


def test_while_a_language_is_awaited_prompts_get_a_sentence(house: House) -> None:
    house.end()
    for path in ("/chat", "/generate_gui"):
        reply = house.owner.post(path, json={"prompt": CANARY})
        assert reply.status_code == 409
        assert "language" in reply.json()["error"]
    assert house.owner.get("/station?station=a").json() == {"language": None, "exchanges": []}


def bodies() -> dict[str, bytes]:
    def told(**fields: object) -> bytes:
        return json.dumps({"prompt": CANARY} | fields).encode()

    return {
        "empty": told(prompt=""),
        "white": told(prompt=" \n\t "),
        "nothing": b"",
        "no JSON": CANARY.encode(),
        "no object": json.dumps([CANARY]).encode(),
        "no prompt": json.dumps({"x": CANARY}).encode(),
        "a number": told(prompt=17),
        "binary": bytes(range(256)),
        "not UTF-8": b'{"prompt": "' + CANARY.encode() + b'\xe4\xf6"}',
        "half a character": b'{"prompt": "' + CANARY.encode() + b'\\ud83d"}',
        "control characters": told(prompt=f"{CANARY}\x00\x1b[2J"),
        "hot": told(temperature=9),
        "not a number": b'{"prompt": "' + CANARY.encode() + b'", "temperature": NaN}',
        "top_p": told(top_p=0),
    }


@pytest.mark.parametrize("path", ["/chat", "/generate_gui"])
@pytest.mark.parametrize("body", bodies().values(), ids=list(bodies()))
def test_bad_bodies_get_a_sentence_and_no_echo(house: House, path: str, body: bytes) -> None:
    if house.state()["phase"] == "waiting":
        house.begin("de")
    reply = house.owner.post(path, content=body)
    assert reply.status_code == 400
    assert reply.json()["error"].endswith(".")
    assert CANARY not in reply.text


def test_more_bad_input(run: House) -> None:
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


def test_unknown_doors_get_a_sentence(house: House) -> None:
    reply = house.owner.get(f"/{CANARY}")
    assert (reply.status_code, "door" in reply.json()["error"]) == (404, True)
    assert house.owner.get("/language").status_code == 405


def test_an_unknown_language_names_those_there_are(house: House) -> None:
    reply = house.owner.post("/language", json={"language": "fr"})
    assert reply.status_code == 400
    assert "de, en" in reply.json()["error"]


def test_a_run_is_restarted_from_a_trusted_host_only(run: House) -> None:
    first = run.state()["run"]
    refused = run.owner.post("/language", json={"language": "de"}, headers={"X-Forwarded-For": "203.0.113.7"})
    assert refused.status_code == 409
    assert run.state()["run"] == first
    joined = run.owner.post("/language", json={"language": "de", "join": True})
    assert joined.json() == {"status": "success"}
    assert run.state()["run"] == first
    assert run.owner.post("/language", json={"language": "de"}).json() == {"status": "success"}
    assert run.state()["run"] != first


def test_from_elsewhere_a_run_may_be_started_while_one_is_awaited(house: House) -> None:
    house.end()
    reply = house.owner.post("/language", json={"language": "en"}, headers={"X-Forwarded-For": "203.0.113.7"})
    assert reply.status_code == 200
    assert house.state()["language"] == "en"


def test_the_same_language_at_both_doors_is_one_start(house: House) -> None:
    house.end()
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    house.owner.post("/language", json={"language": "de"}, headers=elsewhere)
    first = house.state()["run"]
    twin = {"X-WMKML-Via": "inference"} | elsewhere
    assert house.owner.post("/language", json={"language": "de"}, headers=twin).status_code == 200
    assert house.state()["run"] == first
    # Once: a third one is a start of its own.
    assert house.owner.post("/language", json={"language": "de"}, headers={"X-WMKML-Via": "inference"}).is_success
    assert house.state()["run"] != first


def test_another_language_at_the_other_door_is_another_start(house: House) -> None:
    house.begin("de", phase="seeding")
    first = house.state()["run"]
    assert house.owner.post("/language", json={"language": "en"}, headers={"X-WMKML-Via": "inference"}).is_success
    assert (house.state()["language"], house.state()["run"] != first) == ("en", True)


def test_typing_is_told_to_osc(house: House) -> None:
    house.osc_heard()
    assert house.owner.post("/typing_event", json={"status": "typing", "more": 1}).json() == {"ok": True}
    assert house.osc_heard() == ["/user_activity"]
    assert house.owner.post("/typing_event", json={"status": CANARY}).status_code == 400


def test_an_adapter_can_be_loaded_by_hand(run: House) -> None:
    folder = run.places.models / "by-hand"
    if not folder.exists():
        run.write_adapter(folder)
    reply = run.owner.post("/reload", json={"path": str(folder), "iteration": 40})
    assert reply.status_code == 200, reply.text
    assert reply.json()["model"] == "iteration-40"
    assert run.chat("wer antwortet?")[0][1]["iteration"] == 40
    assert ["current", 40] in run.known()["calls"]


def test_what_is_no_adapter_is_not_loaded(run: House, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    run.write_adapter(outside)
    empty = run.places.models / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    for path in (str(outside), str(run.places.models / "missing"), str(empty), "/etc", f"{empty}/../../x", "a\x00b"):
        reply = run.owner.post("/reload", json={"path": path, "iteration": 41})
        assert reply.status_code == 400, path
        assert reply.json()["error"].endswith(".")
    body = {"path": str(outside), "iteration": 41}
    assert run.owner.post("/reload", json=body, headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 403
    assert run.state()["iteration"] == -1


def test_keys_open_their_own_doors(house: House) -> None:
    keys = house.keys
    doors = [("GET", "/operator/pairs", keys.operator), ("POST", "/operator/end", keys.operator)]
    doors += [("POST", "/worker/claim", keys.worker), ("GET", "/events", keys.stage)]
    for method, path, right in doors:
        for wrong in {"", "wrong", "ключ".encode().decode("latin-1"), keys.stage, keys.worker} - {right}:
            reply = house.owner.request(method, path, headers={"X-Key": wrong.encode("latin-1")})
            assert reply.status_code == 401, (path, wrong)
            assert "key" in reply.json()["error"]


@pytest.mark.parametrize("path", ["/station", "/station?station=", "/events", "/events?station="])
def test_what_callers_without_a_station_said_is_shown_with_a_key_alone(run: House, path: str) -> None:
    run.owner.post("/generate_gui", json={"prompt": CANARY})
    for wrong in ({}, {"X-Key": "wrong"}, {"X-Key": run.keys.worker}):
        reply = run.owner.get(path, headers=wrong)
        assert (reply.status_code, "key" in reply.json()["error"]) == (401, True)
    for right in (run.keys.stage, run.keys.operator):
        with run.owner.stream("GET", path, headers={"X-Key": right}) as reply:
            assert reply.status_code == 200
    assert [one["prompt"] for one in run.shared()] == [CANARY]


def test_health_and_state_hold_no_words(run: House) -> None:
    run.chat(CANARY)
    assert run.owner.get("/healthz").json() == {
        "ok": True,
        "phase": "running",
        "inference": "ready",
        "worker": run.state()["worker"],
    }
    assert CANARY not in run.owner.get("/state").text


def test_nothing_a_visitor_said_is_left_after_the_run(run: House) -> None:
    run.chat(f"Ich heiße {CANARY}", station=CANARY)
    until(lambda: run.counts()["echo"] == 2, "the echoes")
    data = run.places.data
    said = [path for path in data.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert said, "the run itself knows it"
    assert run.end().status_code == 200
    until(lambda: not list(run.places.runs.iterdir()), "the empty folder")
    assert not [path for path in data.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_no_log_holds_what_came_in(house: House) -> None:
    # Last of its house: everything above has knocked on every door with it.
    log = house.log.read_text(encoding="utf-8")
    assert "Run" in log
    assert CANARY not in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"finetuning.dataset_array": [["no_such_set"]]}, "no_such_set"),
        ({"general.available_datasets": ["empty"]}, "empty"),
        ({"general.available_datasets": ["there"], "finetuning.dataset_array": [["empty"]]}, "available_datasets"),
    ],
)
def test_a_dataset_that_cannot_be_used_refuses_the_start(
    tmp_path: Path, overrides: dict[str, object], told: str
) -> None:
    for name, content in (("empty", ""), ("there", "Eine Frage?\n")):
        (tmp_path / "sets" / name).mkdir(parents=True)
        (tmp_path / "sets" / name / "prompts.csv").write_text(content, encoding="utf-8")
    house = House(tmp_path, **{"general.datasets_folder": str(tmp_path / "sets")} | overrides)
    done = subprocess.run(
        [sys.executable, "-c", START, str(house.config)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    house.stop()
    assert done.returncode == 2
    assert told in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use_refuses_the_start(house: House, tmp_path: Path) -> None:
    second = House(tmp_path, **{"general.owner_port": house.settings.general.owner_port})
    done = subprocess.run(
        [sys.executable, "-c", START, str(second.config)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    second.stop()
    assert done.returncode == 2
    assert str(house.settings.general.owner_port) in done.stderr and "Traceback" not in done.stderr
    assert house.owner.get("/healthz").status_code == 200


def test_without_inference_the_owner_lives_and_says_so(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        house.start_owner()
        assert house.owner.get("/healthz").json()["inference"] == "away"
        house.begin("de", phase="seeding")
        with pytest.raises(httpx.ReadTimeout):
            house.owner.post("/chat", json={"prompt": "jemand da?"}, timeout=1.0)
        house.start_inference()
        house.until_phase("running")
        assert house.chat("jetzt?")[-1][0] == "end"
    finally:
        house.stop()


def test_a_line_that_was_idle_longer_than_a_client_keeps_one_is_still_open(house: House) -> None:
    url = house.owner.base_url
    line = http.client.HTTPConnection(url.host, url.port, timeout=10)
    line.request("GET", "/healthz")
    line.getresponse().read()
    line.auto_open = 0  # a line that the owner has closed is not quietly replaced by a new one
    time.sleep(6)
    line.request("GET", "/healthz")
    assert line.getresponse().status == 200
    line.close()
