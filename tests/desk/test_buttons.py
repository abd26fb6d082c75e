"""The desk over HTTP, against the real owner: every button does its thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pythonosc.osc_message import OscMessage

from tests.desk.operator import SECRET, DeskClient, at_the_desk
from tests.owner.played_owner import PlayedOwner, played_owner
from tests.waiting import until

pytestmark = pytest.mark.process


def status_of(owner: PlayedOwner, iteration: int) -> str | None:
    rounds = owner.get("/state")["rounds"]
    return next((str(round_["status"]) for round_ in rounds if round_["iteration"] == iteration), None)


def test_start_begins_a_run_and_begins_another(desk: DeskClient) -> None:
    desk.press("start", {"language": "en"})
    first = desk.state()["run"]
    assert (first["language"], first["phase"] != "waiting") == ("en", True)
    desk.press("start", {"language": "de"})
    second = desk.state()["run"]
    assert second["language"] == "de" and second["run"] != first["run"]
    assert "not configured" in desk.refusal("start", 400, {"language": "xx"})


def test_last_words_and_rebirth(desk: DeskClient) -> None:
    for action in ("last_words", "rebirth", "skip"):
        assert "No run" in desk.refusal(action, 409)
    desk.owner.begin("de")
    job = desk.owner.cluster.claim()
    desk.press("last_words")
    desk.owner.cluster.until_phase("last_words")
    assert status_of(desk.owner, 0) == "skipped"
    assert not desk.owner.cluster.step(job)
    assert "begun already" in desk.refusal("last_words", 409)
    desk.press("rebirth")
    assert desk.state()["run"]["phase"] == "waiting"


def test_a_key_is_rotated_and_the_old_one_opens_nothing(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    before = cluster.keys
    reply = desk.press("rotate", {"name": "stage"})
    assert reply == {"name": "stage", "key": cluster.keys.stage} and reply["key"] != before.stage
    for key, status in ((before.stage, 401), (reply["key"], 200)):
        assert cluster.owner.get("/station", headers={"X-Key": key}).status_code == status
    assert (cluster.keys.worker, cluster.keys.operator) == (before.worker, before.operator)
    assert "Not understood" in desk.refusal("rotate", 400, {"name": "visitor"})
    assert httpx.post(f"{desk.owner.address}/desk/rotate", json={"name": "stage"}).status_code == 401
    assert cluster.keys.stage == reply["key"], "without a session nothing is rotated"


def test_a_new_pin_closes_every_other_desk(desk: DeskClient) -> None:
    with at_the_desk(desk.owner) as other:
        new = desk.press("rotate", {"name": "pin"})["key"]
        assert desk.state()["at"], "the desk that made it stays open"
        assert other.http.get("/desk/state").status_code == 401
        assert other.login(new).status_code == 200


def test_the_desk_that_rotates_the_operators_key_is_known_by_the_new_one(desk: DeskClient) -> None:
    """Its wrong guesses are counted apart from its address's, by a cookie that the operator's key signs."""
    known = desk.http.cookies["desk_known"]
    desk.press("rotate", {"name": "operator"})
    assert desk.http.cookies["desk_known"] != known
    assert desk.state()["at"]


def test_skip_gives_a_round_up_and_rates_and_samples_advance(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    desk.owner.begin("de")
    job = cluster.claim()
    assert cluster.step(job)
    desk.press("skip")
    assert status_of(desk.owner, 0) == "skipped"
    assert not cluster.step(job)
    following = cluster.claim()
    assert following["iteration"] == 1
    assert following["learning_rate"] == pytest.approx(0.0014)
    assert len(following["samples"]) == len(job["samples"]) + 2
    assert following["previous"] is None
    assert cluster.train(following)["accepted"]
    cluster.until_iteration(1)
    reply = cluster.hand_in(job, cluster.write_adapter(Path(job["folder"])))
    assert not reply.json()["accepted"]
    assert desk.owner.get("/state")["iteration"] == 1


def test_skip_takes_back_an_adapter_that_waits(tmp_path: Path) -> None:
    with played_owner(tmp_path, **{"finetuning.minimum_iteration_time": 3600.0}) as owner:
        desk = DeskClient(owner)
        desk.login()
        owner.begin("de")
        assert owner.cluster.train(owner.cluster.claim())["accepted"]
        until(lambda: status_of(owner, 0) == "held", "the round to be held")
        assert 3500 < desk.state()["hold_left_seconds"] <= 3600
        desk.press("skip")
        job = owner.cluster.claim()
        assert (job["iteration"], job["previous"]) == (1, None)
        assert owner.get("/state")["iteration"] == -1
        # The run is whole: the owner finds it so after a crash, too.
        owner.kill()
        owner.start()
        assert status_of(owner, 0) == "skipped"
        assert owner.get("/state")["iteration"] == -1


def test_hold_keeps_the_language_as_it_is(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    desk.owner.begin("de")
    job = cluster.claim()
    desk.press("hold", {"holding": True})
    assert desk.state()["holding"] is True
    assert cluster.train(job)["accepted"]
    until(lambda: status_of(desk.owner, 0) == "held", "the adapter to wait")
    desk.owner.say("Wer antwortet?", "s1")
    assert desk.state()["run"]["iteration"] == -1
    desk.press("hold", {"holding": False})
    cluster.until_iteration(0)
    # And before a round: none begins.
    following = cluster.claim()
    desk.press("hold", {"holding": True})
    desk.press("skip")
    desk.owner.say("Noch einmal?", "s1")
    assert status_of(desk.owner, 2) is None and desk.state()["run"]["round"] is None
    desk.press("hold", {"holding": False})
    until(lambda: status_of(desk.owner, 2) == "open", "the next round")
    assert following["iteration"] == 1 and status_of(desk.owner, 1) == "skipped"


def test_a_new_run_is_not_held(desk: DeskClient) -> None:
    desk.owner.begin("de")
    desk.press("hold", {"holding": True})
    desk.press("start", {"language": "de"})
    assert desk.state()["holding"] is False
    until(lambda: status_of(desk.owner, 0) == "open", "a round")


def test_dials_count_from_the_next_round_on(desk: DeskClient) -> None:
    cluster, dials = (
        desk.owner.cluster,
        {"temperature": 1.5, "visitor_temperature": 0.2, "learning_rate": 0.02, "minimum_iteration_time": 0.5},
    )
    desk.owner.begin("de")
    job = cluster.claim()
    desk.press("dials", dials)
    state = desk.state()
    assert state["dials_turned"] == dials
    assert state["dials_now"]["learning_rate"] == pytest.approx(job["learning_rate"])
    assert state["dials_settings"]["learning_rate"] == pytest.approx(0.0014)
    desk.owner.say("Noch das Alte?", "s1")
    assert temperatures_of(cluster.stand_in_state(), "visitor", "Noch das Alte?") == {0.7}
    until(lambda: temperatures_of(cluster.stand_in_state(), "echo", "Noch das Alte?") == {0.4}, "the echo")
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(0)
    assert cluster.claim()["learning_rate"] == pytest.approx(0.02)
    assert desk.state()["dials_now"] == dials
    desk.owner.say("Jetzt das Neue?", "s1")
    assert temperatures_of(cluster.stand_in_state(), "visitor", "Jetzt das Neue?") == {0.2}
    until(lambda: temperatures_of(cluster.stand_in_state(), "echo", "Jetzt das Neue?") == {1.5}, "the echo")
    assert cluster.owner.post("/card", json={"station": "s1"}).status_code == 200
    assert temperatures_of(cluster.stand_in_state(), "panel", "Noch das Alte?") == {0.2}, (
        "the card's past selves speak as freely"
    )
    assert "minimum_iteration_time: 0.0" in cluster.config.read_text()  # nobody writes the settings
    # They stay for the run after this one, until they are taken back.
    desk.press("start", {"language": "en"})
    assert cluster.claim("s2")["learning_rate"] == pytest.approx(0.02)
    desk.press("dials", {})
    desk.press("skip")
    assert cluster.claim("s2")["learning_rate"] == pytest.approx(0.0014)
    assert desk.state()["dials_now"] == {
        "temperature": 0.4,
        "visitor_temperature": 0.7,
        "learning_rate": pytest.approx(0.0014),
        "minimum_iteration_time": 0.0,
    }


def temperatures_of(state: dict[str, Any], audience: str, prompt: str) -> set[float]:
    """The temperatures with which this prompt came to inference."""
    return {
        request["temperature"]
        for request in state["requests"]
        if request["audience"] == audience and request["messages"][-1]["content"] == prompt
    }


def test_a_turned_interval_is_the_hold_of_the_next_round(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    desk.press("dials", {"minimum_iteration_time": 3600})
    desk.owner.begin("de")
    assert cluster.train(cluster.claim())["accepted"]
    until(lambda: status_of(desk.owner, 0) == "held", "the hold")
    assert desk.state()["hold_left_seconds"] > 3000
    desk.press("dials", {})
    assert desk.state()["hold_left_seconds"] > 3000
    desk.press("skip")
    assert cluster.train(cluster.claim())["accepted"]
    cluster.until_iteration(1)


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
def test_dials_beyond_their_bounds_are_refused(desk: DeskClient, wrong: dict[str, Any]) -> None:
    before = desk.state()["dials_turned"]
    assert "Not understood" in desk.refusal("dials", 400, wrong)
    assert desk.state()["dials_turned"] == before


def test_the_desk_is_there_when_the_learning_rate_has_fallen_to_nothing(tmp_path: Path) -> None:
    with played_owner(tmp_path, **{"finetuning.learning_rate_increase": -0.002}) as owner, at_the_desk(owner) as desk:
        owner.begin("de")
        assert owner.cluster.train(owner.cluster.claim())["accepted"]
        assert owner.cluster.claim()["learning_rate"] == 0
        assert desk.state()["dials_now"]["learning_rate"] == 0


def test_osc_is_tested_and_what_was_sent_last_is_shown(desk: DeskClient) -> None:
    osc = desk.owner.cluster.osc
    number = desk.press("osc_test")["number"]
    received: list[OscMessage] = []

    def test_message() -> bool:
        received.append(OscMessage(osc.recv(8192)))
        return bool(received[-1].address == "/test")

    osc.settimeout(20)
    until(test_message, "/test")
    assert received[-1].params == [number]
    state = desk.state()
    assert state["osc_hosts"] == [{"host": "127.0.0.1", "port": osc.getsockname()[1], "reachable": True}]
    sent = {message["address"]: message for message in state["osc_sent"]}
    assert sent["/test"]["values"] == [number]
    assert [message["at"] for message in state["osc_sent"]] == sorted(
        (message["at"] for message in state["osc_sent"]), reverse=True
    )
    desk.owner.begin("de")
    desk.owner.say(SECRET, "s1")
    of_words = until(
        lambda: next((message for message in desk.state()["osc_sent"] if message["address"] == "/prompt"), None),
        "/prompt",
    )
    assert of_words["values"] == []


def test_without_an_osc_host_the_test_says_so(tmp_path: Path) -> None:
    with played_owner(tmp_path, **{"general.osc_ip": "", "general.osc_port": 0}) as owner:
        desk = DeskClient(owner)
        desk.login()
        assert "osc_ip" in desk.refusal("osc_test", 409)
        assert desk.state()["osc_hosts"] == []


def test_the_stage_is_blanked_at_once_and_stays_blank_for_who_comes_later(desk: DeskClient) -> None:
    events = desk.owner.cluster.events()
    assert next(events).event == "state"
    desk.press("stage", {"blank": True})
    assert json.loads(next(event for event in events if event.event == "stage").data) == {"blank": True}
    late = desk.owner.cluster.events()
    assert [next(late).event, next(late).event] == ["state", "stage"]
    desk.press("stage", {"blank": False})
    assert json.loads(next(event for event in late if event.event == "stage").data) == {"blank": False}
    stream = desk.owner.cluster.events()
    assert next(stream).event == "state"
    desk.owner.begin("de")
    names = []
    for event in stream:
        names.append(event.event)
        if event.event == "run_started":
            break
    assert "stage" not in names
