"""What the operator set at the desk outlives the owner's process: the real owner is killed, and another one started."""

from __future__ import annotations

import json

import httpx
import httpx_sse
import pytest

from tests.desk.operator import DeskClient
from tests.owner.played_owner import PlayedOwner
from tests.waiting import until

pytestmark = pytest.mark.process

DIALS = {"temperature": 1.5, "visitor_temperature": 0.2, "learning_rate": 0.02, "minimum_iteration_time": 0.5}


@pytest.fixture
def desk(desk: DeskClient) -> DeskClient:
    """A desk that is logged in at the module's owner, with nothing set."""
    path = desk.owner.cluster.paths.desk
    if path.is_dir():
        path.rmdir()
    desk.press("stage", {"blank": False})
    desk.press("dials", {})
    state = desk.state()
    assert (state["blank"], state["holding"], set(state["dials_turned"].values())) == (False, False, {None})
    return desk


def restart(desk: DeskClient) -> None:
    """Kill the owner, start another one, and log in again: sessions end with their owner."""
    desk.owner.kill()
    desk.owner.start()
    assert desk.login().status_code == 200


def first_events(owner: PlayedOwner) -> list[tuple[str, str]]:
    """Name and data of the first two events that a stage hears which is opened now."""
    headers = {"X-Key": owner.cluster.keys.stage}
    with (
        httpx.Client(verify=False, base_url=owner.address) as client,
        httpx_sse.connect_sse(client, "GET", "/events", headers=headers, timeout=20) as source,
    ):
        events = source.iter_sse()
        return [(event.event, event.data) for event in (next(events), next(events))]


def test_a_blanked_stage_stays_blank(desk: DeskClient) -> None:
    desk.press("stage", {"blank": True})
    restart(desk)
    assert desk.state()["blank"] is True
    assert desk.light("stage")[1] == "blank"
    assert desk.owner.get("/stage/runtime")["blank"] is True
    (state, _), (name, data) = first_events(desk.owner)
    assert (state, name, json.loads(data)) == ("state", "stage", {"blank": True})
    desk.press("stage", {"blank": False})
    restart(desk)
    assert desk.state()["blank"] is False


def test_a_stage_that_a_program_blanked_stays_blank(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    reply = cluster.owner.post("/operator/stage", json={"blank": True}, headers={"X-Key": cluster.keys.operator})
    assert reply.status_code == 200
    restart(desk)
    assert desk.state()["blank"] is True


def test_dials_are_shown_and_count_from_the_next_round_on(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    desk.owner.begin("de")
    job = cluster.claim()
    desk.press("dials", DIALS)
    restart(desk)
    state = desk.state()
    assert state["dials_turned"] == DIALS
    assert state["dials_now"]["visitor_temperature"] == 0.7, "the round under way was opened without them"
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(0)
    assert cluster.claim()["learning_rate"] == pytest.approx(0.02)
    until(lambda: json.loads(cluster.paths.desk.read_text())["in_force"] == DIALS, "them to be in force on the disk")
    restart(desk)
    assert desk.state()["dials_now"] == DIALS
    desk.owner.say("Wie warm?", "warm")
    [asked] = [request for request in cluster.stand_in_state()["requests"] if request["station"] == "warm"]
    assert asked["temperature"] == 0.2, "in force before another round is opened"
    desk.press("dials", {})
    restart(desk)
    assert set(desk.state()["dials_turned"].values()) == {None}


def test_a_hold_still_holds_before_the_first_round(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    cluster.behave(keeps_back=["panel"])  # the seed, so that the hold comes before the first round
    cluster.start_run("de")
    desk.press("hold", {"holding": True})
    restart(desk)
    cluster.behave(keeps_back=[])
    cluster.until_phase("running")
    assert desk.state()["holding"] is True
    desk.owner.say("Hält es noch?", "s1")
    assert desk.owner.get("/state")["rounds"] == []
    desk.press("hold", {"holding": False})
    assert cluster.claim()["iteration"] == 0
    restart(desk)
    assert desk.state()["holding"] is False


def test_a_hold_still_keeps_an_adapter_back(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    desk.owner.begin("de")
    job = cluster.claim()
    desk.press("hold", {"holding": True})
    assert cluster.train(job)["accepted"]
    restart(desk)
    until(lambda: desk.owner.get("/state")["rounds"][0]["status"] == "held", "the adapter to be loaded again")
    desk.owner.say("Wer antwortet?", "s1")
    assert desk.owner.get("/state")["iteration"] == -1
    desk.press("hold", {"holding": False})
    cluster.until_iteration(0)
    desk.press("hold", {"holding": True})
    desk.press("start", {"language": "en"})
    assert desk.state()["holding"] is False, "a hold ends with its run"


def damage(desk: DeskClient, content: bytes) -> str:
    """Start the owner anew with this as its file; what its notice says of it."""
    desk.press("dials", DIALS)
    desk.owner.kill()
    path = desk.owner.cluster.paths.desk
    assert path.is_file()
    path.write_bytes(content)
    desk.owner.start()
    desk.login()
    [notice] = [notice["text"] for notice in desk.state()["notices"] if str(path) in notice["text"]]
    return str(notice)


@pytest.mark.parametrize("content", [b"", b'{"blank": fal', b"[]", b"\xff\xfe"])
def test_a_damaged_file_is_a_notice_and_a_dark_stage(desk: DeskClient, content: bytes) -> None:
    assert "the stage is dark" in damage(desk, content)
    path, state = desk.owner.cluster.paths.desk, desk.state()
    assert state["blank"] is True and set(state["dials_turned"].values()) == {None}
    desk.press("dials", DIALS)
    restart(desk)
    assert desk.state()["dials_turned"] == DIALS
    assert not [notice for notice in desk.state()["notices"] if str(path) in notice["text"]]


@pytest.mark.parametrize(
    ("spoiled", "value", "word"),
    [
        ("requested", {"temperature": 9}, "next round"),
        ("opening", {"decision": "perhaps", "panic": False}, "panic"),
        ("blank", 0, "stage"),
    ],
)
def test_of_a_damaged_file_what_is_whole_counts(desk: DeskClient, spoiled: str, value: object, word: str) -> None:
    whole: dict[str, object] = {
        "blank": True,
        "opening": {"decision": "hours", "until": None, "panic": True},
        "requested": DIALS,
    }
    notice = damage(desk, json.dumps(whole | {spoiled: value}).encode())
    assert word in notice
    state = desk.state()
    assert state["blank"] is True, "the stage stays dark where that was lost, too"
    assert desk.owner.get("/state")["opening"]["panic"] is (spoiled != "opening")
    assert state["dials_turned"] == (dict.fromkeys(DIALS) if spoiled == "requested" else DIALS)
    desk.press("panic", {"on": False})


def test_a_folder_that_takes_no_file_is_a_notice(desk: DeskClient) -> None:
    path = desk.owner.cluster.paths.desk
    path.unlink(missing_ok=True)
    path.mkdir()  # a root's process may write anywhere else
    assert not [notice for notice in desk.state()["notices"] if "cannot be written" in notice["text"]]
    desk.press("stage", {"blank": True})
    state = desk.state()
    assert state["blank"] is True
    assert [notice["text"] for notice in state["notices"] if "cannot be written" in notice["text"]]
