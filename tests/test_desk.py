"""The desk over HTTP, against the real owner: who is let in, what is shown, and that every button does its thing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pythonosc.osc_message import OscMessage

from tests.owner_house import until
from tests.played_owner import KEPT, PlayedOwner, played_owner
from wmkml.pin import change_pin, load_pin

SECRET = "Mein geheimer Satz"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedOwner]:
    with played_owner(tmp_path_factory.mktemp("house")) as one:
        yield one


@pytest.fixture
def owner(house: PlayedOwner) -> PlayedOwner:
    house.fresh()
    return house


class Desk:
    """An operator who speaks HTTP."""

    def __init__(self, owner: PlayedOwner) -> None:
        self.owner = owner
        self.http = httpx.Client(base_url=owner.address, timeout=60)

    def login(self, pin: str | None = None, **headers: str) -> httpx.Response:
        pin = load_pin(self.owner.house.places) if pin is None else pin
        return self.http.post("/desk/login", json={"pin": pin}, headers=headers)

    def state(self) -> dict[str, Any]:
        return dict(self.http.get("/desk/state").raise_for_status().json())

    def press(self, what: str, body: Any = None) -> dict[str, Any]:
        reply = self.http.post(f"/desk/{what}", json=body)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def refused(self, what: str, status: int, body: Any = None) -> str:
        reply = self.http.post(f"/desk/{what}", json=body)
        assert reply.status_code == status, reply.text
        return str(reply.json()["error"])

    def light(self, name: str) -> tuple[str, str]:
        [one] = [one for one in self.state()["lights"] if one["name"] == name]
        return one["light"], one["code"]


@pytest.fixture
def desk(owner: PlayedOwner) -> Iterator[Desk]:
    one = Desk(owner)
    assert one.login().status_code == 200
    yield one
    one.http.close()


def status_of(owner: PlayedOwner, iteration: int) -> str | None:
    rounds = owner.get("/state")["rounds"]
    return next((str(one["status"]) for one in rounds if one["iteration"] == iteration), None)


# --- who is let in -------------------------------------------------------------------------------------------------


def test_nothing_is_shown_or_done_without_a_session(owner: PlayedOwner) -> None:
    with httpx.Client(base_url=owner.address) as http:
        for path in ("state", "words"):
            reply = http.get(f"/desk/{path}")
            assert reply.status_code == 401 and set(reply.json()) == {"error"}
        doors = ("start", "last_words", "rebirth", "skip", "hold", "dials", "osc_test", "stage", "logout")
        assert [http.post(f"/desk/{one}", json={}).status_code for one in doors] == [401] * len(doors)
        http.cookies.set("desk", "x" * 43, path="/desk")
        assert http.get("/desk/state").status_code == 401
        assert http.get("/desk").status_code == 200  # the page itself holds nothing
    assert owner.get("/state")["phase"] == "waiting"


def test_the_cookie_is_for_the_desk_alone(owner: PlayedOwner) -> None:
    desk = Desk(owner)
    reply = desk.login()
    cookie = [part.strip().lower() for part in reply.headers["set-cookie"].split(";")]
    assert {"path=/desk", "httponly", "samesite=strict", "max-age=43200"} <= set(cookie)
    assert not any(part.startswith("domain") for part in cookie)
    assert desk.http.get("/desk/state").headers["cache-control"] == "no-store"
    # It opens nothing else.
    token = desk.http.cookies["desk"]
    for path in ("/operator/pairs", "/events"):
        assert httpx.get(owner.address + path, cookies={"desk": token}).status_code == 401


def test_a_form_without_javascript_works_too(owner: PlayedOwner) -> None:
    with httpx.Client(base_url=owner.address, headers={"Origin": owner.address}) as http:
        wrong = http.post("/desk/login", data={"pin": "wrong"})
        assert wrong.status_code == 401 and "not the PIN" in wrong.text and "text/html" in wrong.headers["content-type"]
        assert "default-src 'none'" in wrong.headers["content-security-policy"]
        right = http.post("/desk/login", data={"pin": load_pin(owner.house.places)})
        assert (right.status_code, right.headers["location"]) == (303, "/desk")
        assert http.get("/desk/state").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://elsewhere.example"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_requests_are_refused(desk: Desk, headers: dict[str, str]) -> None:
    for path in ("start", "login", "rebirth", "stage", "logout"):
        reply = desk.http.post(f"/desk/{path}", json={"language": "de"}, headers=headers)
        assert reply.status_code == 403, path
    assert desk.owner.get("/state")["phase"] == "waiting"
    assert desk.state()["blank"] is False


def test_our_own_pages_requests_are_taken(desk: Desk) -> None:
    headers = {"Origin": desk.owner.address, "Sec-Fetch-Site": "same-origin"}
    assert desk.http.post("/desk/stage", json={"blank": False}, headers=headers).status_code == 200


def test_leaving_and_a_new_pin_close_the_desk(desk: Desk) -> None:
    desk.press("logout")
    assert desk.http.get("/desk/state").status_code == 401
    assert desk.login().status_code == 200
    change_pin(desk.owner.house.places, "480213")
    assert desk.http.get("/desk/state").status_code == 401
    assert desk.login("480213").status_code == 200


def test_wrong_pins_are_answered_with_a_sentence_and_then_slowed(tmp_path: Path) -> None:
    with played_owner(tmp_path) as owner:
        desk = Desk(owner)
        replies = [desk.login("000000") for _ in range(5)]
        assert [one.status_code for one in replies] == [401] * 4 + [429]
        assert replies[0].json() == {"error": "This is not the PIN."}
        assert int(replies[-1].headers["retry-after"]) in (1, 2)
        assert "try again in" in replies[-1].json()["error"]
        until(lambda: desk.login().status_code == 200, "the slate to be clean again")


# --- what is shown -------------------------------------------------------------------------------------------------


def test_lights_and_numbers_of_a_healthy_run(desk: Desk) -> None:
    desk.press("start", {"language": "de"})
    desk.owner.house.until_phase("running")
    desk.owner.say(SECRET, "s1")
    desk.owner.train()
    state = desk.state()
    assert desk.light("owner") == ("good", "lives")
    assert desk.light("inference") == ("good", "ready")
    assert desk.light("worker") == ("good", "training")
    assert desk.light("stage") == ("off", "nobody")
    assert state["run"]["round"]["step"] == 4
    assert [(one["iteration"], one["step"]) for one in state["losses"]] == [(0, step) for step in (1, 2, 3, 4)]
    desk.owner.hand_in()
    desk.owner.say(SECRET, "s1")

    def measured() -> dict[int, dict[str, Any]]:
        found = {one["iteration"]: one for one in desk.state()["measures"]}
        return found if 0 in found else {}

    measures = until(measured, "measures of iteration 0")
    assert measures[-1]["answers"] >= 3
    assert 0 < measures[-1]["distinct_2"] <= 1 and 0 <= measures[-1]["repetition"] < 1
    assert measures[-1]["entropy"] == pytest.approx(1.25)
    machine = state["machine"]
    assert 0 < machine["disk_free_gib"] <= machine["disk_total_gib"]
    assert 0 < machine["memory_free_gib"] < machine["memory_total_gib"]
    assert bool(machine["gpus"]) == (shutil.which("nvidia-smi") is not None)


def test_words_are_shown_only_to_who_asks(desk: Desk) -> None:
    desk.owner.begin("de")
    desk.owner.say(SECRET, "s1")
    text = desk.http.get("/desk/state").text
    assert SECRET not in text and KEPT not in text
    words = desk.http.get("/desk/words")
    assert words.headers["cache-control"] == "no-store"
    assert words.json()["exchanges"] == [{"prompt": SECRET, "text": KEPT, "iteration": -1}]
    desk.press("rebirth")
    assert desk.http.get("/desk/words").json()["exchanges"] == []


def test_a_stage_that_listens_is_counted(desk: Desk) -> None:
    with httpx.stream("GET", f"{desk.owner.address}/events", headers={"X-Key": desk.owner.house.keys.stage}):
        until(lambda: desk.light("stage") == ("good", "listens"), "the stage's light")
    until(lambda: desk.light("stage") == ("off", "nobody"), "the stage's leaving")


def test_inference_away_is_seen_and_seen_to_be_back(desk: Desk) -> None:
    desk.owner.house.kill_inference()
    until(lambda: desk.light("inference") == ("busy", "absent"), "the light to change")
    desk.owner.house.start_inference()
    until(lambda: desk.light("inference") == ("good", "ready"), "the light to be green again")


# --- every button --------------------------------------------------------------------------------------------------


def test_start_begins_a_run_and_begins_another(desk: Desk) -> None:
    desk.press("start", {"language": "en"})
    first = desk.state()["run"]
    assert (first["language"], first["phase"] != "waiting") == ("en", True)
    desk.press("start", {"language": "de"})
    second = desk.state()["run"]
    assert second["language"] == "de" and second["run"] != first["run"]
    assert "not configured" in desk.refused("start", 400, {"language": "xx"})


def test_last_words_and_rebirth(desk: Desk) -> None:
    for action in ("last_words", "rebirth", "skip"):
        assert "No run" in desk.refused(action, 409)
    desk.owner.begin("de")
    job = desk.owner.house.claim()
    desk.press("last_words")
    desk.owner.house.until_phase("last_words")
    assert status_of(desk.owner, 0) == "skipped"
    assert not desk.owner.house.step(job)
    assert "begun already" in desk.refused("last_words", 409)
    desk.press("rebirth")
    assert desk.state()["run"]["phase"] == "waiting"


def test_skip_gives_a_round_up_and_rates_and_samples_advance(desk: Desk) -> None:
    house = desk.owner.house
    desk.owner.begin("de")
    job = house.claim()
    assert house.step(job)
    desk.press("skip")
    assert status_of(desk.owner, 0) == "skipped"
    assert not house.step(job)
    following = house.claim()
    assert following["iteration"] == 1
    assert following["learning_rate"] == pytest.approx(0.0014)
    assert len(following["samples"]) == len(job["samples"]) + 2
    assert following["previous"] is None
    assert house.train(following)["accepted"]
    house.until_iteration(1)
    reply = house.hand_in(job, house.write_adapter(Path(job["folder"])))
    assert not reply.json()["accepted"]
    assert desk.owner.get("/state")["iteration"] == 1


def test_skip_takes_back_an_adapter_that_waits(tmp_path: Path) -> None:
    with played_owner(tmp_path, **{"finetuning.minimum_iteration_time": 3600.0}) as owner:
        desk = Desk(owner)
        desk.login()
        owner.begin("de")
        assert owner.house.train(owner.house.claim())["accepted"]
        until(lambda: status_of(owner, 0) == "held", "the round to be held")
        assert 3500 < desk.state()["hold_left_seconds"] <= 3600
        desk.press("skip")
        job = owner.house.claim()
        assert (job["iteration"], job["previous"]) == (1, None)
        assert owner.get("/state")["iteration"] == -1
        # The run is whole: the owner finds it so after a crash, too.
        owner.kill()
        owner.start()
        assert status_of(owner, 0) == "skipped"
        assert owner.get("/state")["iteration"] == -1


def test_hold_keeps_the_language_as_it_is(desk: Desk) -> None:
    house = desk.owner.house
    desk.owner.begin("de")
    job = house.claim()
    desk.press("hold", {"holding": True})
    assert desk.state()["holding"] is True
    assert house.train(job)["accepted"]
    until(lambda: status_of(desk.owner, 0) == "held", "the adapter to wait")
    desk.owner.say("Wer antwortet?", "s1")
    assert desk.state()["run"]["iteration"] == -1
    desk.press("hold", {"holding": False})
    house.until_iteration(0)
    # And before a round: none begins.
    following = house.claim()
    desk.press("hold", {"holding": True})
    desk.press("skip")
    desk.owner.say("Noch einmal?", "s1")
    assert status_of(desk.owner, 2) is None and desk.state()["run"]["round"] is None
    desk.press("hold", {"holding": False})
    until(lambda: status_of(desk.owner, 2) == "open", "the next round")
    assert following["iteration"] == 1 and status_of(desk.owner, 1) == "skipped"


def test_a_new_run_is_not_held(desk: Desk) -> None:
    desk.owner.begin("de")
    desk.press("hold", {"holding": True})
    desk.press("start", {"language": "de"})
    assert desk.state()["holding"] is False
    until(lambda: status_of(desk.owner, 0) == "open", "a round")


def test_dials_count_from_the_next_round_on(desk: Desk) -> None:
    house, turned = (
        desk.owner.house,
        {"temperature": 1.5, "visitor_temperature": 0.2, "learning_rate": 0.02, "minimum_iteration_time": 0.5},
    )
    desk.owner.begin("de")
    job = house.claim()
    desk.press("dials", turned)
    state = desk.state()
    assert state["dials_turned"] == turned
    assert state["dials_now"]["learning_rate"] == pytest.approx(job["learning_rate"])
    assert state["dials_settings"]["learning_rate"] == pytest.approx(0.0014)
    desk.owner.say("Noch das Alte?", "s1")
    assert asked_with(house.known(), "visitor", "Noch das Alte?") == {0.7}
    until(lambda: asked_with(house.known(), "echo", "Noch das Alte?") == {0.4}, "the echo")
    assert house.train(job)["accepted"]
    house.until_iteration(0)
    assert house.claim()["learning_rate"] == pytest.approx(0.02)
    assert desk.state()["dials_now"] == turned
    desk.owner.say("Jetzt das Neue?", "s1")
    assert asked_with(house.known(), "visitor", "Jetzt das Neue?") == {0.2}
    until(lambda: asked_with(house.known(), "echo", "Jetzt das Neue?") == {1.5}, "the echo")
    assert house.owner.post("/card", json={"station": "s1"}).status_code == 200
    assert asked_with(house.known(), "panel", "Noch das Alte?") == {0.2}, "the card's past selves speak as freely"
    assert "minimum_iteration_time: 0.0" in house.config.read_text()  # nobody writes the settings
    # They stay for the run after this one, until they are taken back.
    desk.press("start", {"language": "en"})
    assert house.claim("s2")["learning_rate"] == pytest.approx(0.02)
    desk.press("dials", {})
    desk.press("skip")
    assert house.claim("s2")["learning_rate"] == pytest.approx(0.0014)
    assert desk.state()["dials_now"] == {
        "temperature": 0.4,
        "visitor_temperature": 0.7,
        "learning_rate": pytest.approx(0.0014),
        "minimum_iteration_time": 0.0,
    }


def asked_with(known: dict[str, Any], audience: str, prompt: str) -> set[float]:
    """The temperatures with which this prompt came to inference."""
    return {
        one["temperature"]
        for one in known["asked"]
        if one["audience"] == audience and one["messages"][-1]["content"] == prompt
    }


def test_a_turned_interval_is_the_hold_of_the_next_round(desk: Desk) -> None:
    house = desk.owner.house
    desk.press("dials", {"minimum_iteration_time": 3600})
    desk.owner.begin("de")
    assert house.train(house.claim())["accepted"]
    until(lambda: status_of(desk.owner, 0) == "held", "the hold")
    assert desk.state()["hold_left_seconds"] > 3000
    desk.press("dials", {})
    assert desk.state()["hold_left_seconds"] > 3000
    desk.press("skip")
    assert house.train(house.claim())["accepted"]
    house.until_iteration(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 3},
        {"learning_rate": 0},
        {"minimum_iteration_time": -1},
        {"learning_rate": "much"},
        {"epochs": 1},
    ],
)
def test_dials_beyond_their_bounds_are_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    before = desk.state()["dials_turned"]
    assert "Not understood" in desk.refused("dials", 400, wrong)
    assert desk.state()["dials_turned"] == before


def test_osc_is_tested_and_what_was_sent_last_is_shown(desk: Desk) -> None:
    osc = desk.owner.house.osc
    number = desk.press("osc_test")["number"]
    heard: list[OscMessage] = []

    def test_message() -> bool:
        heard.append(OscMessage(osc.recv(8192)))
        return heard[-1].address == "/test"

    osc.settimeout(20)
    until(test_message, "/test")
    assert heard[-1].params == [number]
    state = desk.state()
    assert state["osc_hosts"] == [{"host": "127.0.0.1", "port": osc.getsockname()[1], "reachable": True}]
    sent = {one["address"]: one for one in state["osc_sent"]}
    assert sent["/test"]["values"] == [number]
    assert [one["at"] for one in state["osc_sent"]] == sorted((one["at"] for one in state["osc_sent"]), reverse=True)
    desk.owner.begin("de")
    desk.owner.say(SECRET, "s1")
    of_words = until(
        lambda: next((one for one in desk.state()["osc_sent"] if one["address"] == "/prompt"), None), "/prompt"
    )
    assert of_words["values"] == []


def test_without_an_osc_host_the_test_says_so(tmp_path: Path) -> None:
    with played_owner(tmp_path, **{"general.osc_ip": "", "general.osc_port": 0}) as owner:
        desk = Desk(owner)
        desk.login()
        assert "osc_ip" in desk.refused("osc_test", 409)
        assert desk.state()["osc_hosts"] == []


def test_the_stage_is_blanked_at_once_and_stays_blank_for_who_comes_later(desk: Desk) -> None:
    events = desk.owner.house.events()
    assert next(events).event == "state"
    desk.press("stage", {"blank": True})
    assert json.loads(next(event for event in events if event.event == "stage").data) == {"blank": True}
    later = desk.owner.house.events()
    assert [next(later).event, next(later).event] == ["state", "stage"]
    desk.press("stage", {"blank": False})
    assert json.loads(next(event for event in later if event.event == "stage").data) == {"blank": False}
    fresh = desk.owner.house.events()
    assert next(fresh).event == "state"
    desk.owner.begin("de")
    names = []
    for event in fresh:
        names.append(event.event)
        if event.event == "run_started":
            break
    assert "stage" not in names
