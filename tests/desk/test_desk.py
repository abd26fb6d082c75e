"""The desk over HTTP, against the real owner: who is let in, and what is shown."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.desk.operator import SECRET, DeskClient
from tests.owner.played_owner import KEPT_ANSWER, PlayedOwner, played_owner
from tests.waiting import until
from wmkml.access.login_link import make_login_token
from wmkml.access.pin import change_pin, load_pin

pytestmark = pytest.mark.process


# --- who is let in -------------------------------------------------------------------------------------------------


def test_nothing_is_shown_or_done_without_a_session(owner: PlayedOwner) -> None:
    with httpx.Client(verify=False, base_url=owner.address) as http:
        for path in ("state", "words"):
            reply = http.get(f"/desk/{path}")
            assert reply.status_code == 401 and set(reply.json()) == {"error"}
        doors = ("start", "last_words", "rebirth", "skip", "hold", "dials", "osc_test", "stage", "logout")
        assert [http.post(f"/desk/{path}", json={}).status_code for path in doors] == [401] * len(doors)
        http.cookies.set("desk", "x" * 43, path="/desk")
        assert http.get("/desk/state").status_code == 401
        assert http.get("/desk").status_code == 200  # the page itself holds nothing
    assert owner.get("/state")["phase"] == "waiting"


def test_the_cookie_is_for_the_desk_alone(owner: PlayedOwner) -> None:
    desk = DeskClient(owner)
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
    with httpx.Client(verify=False, base_url=owner.address, headers={"Origin": owner.address}) as http:
        wrong = http.post("/desk/login", data={"pin": "wrong"})
        assert wrong.status_code == 401 and "not the PIN" in wrong.text and "text/html" in wrong.headers["content-type"]
        assert "default-src 'none'" in wrong.headers["content-security-policy"]
        right = http.post("/desk/login", data={"pin": load_pin(owner.cluster.paths)})
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
def test_another_sites_requests_are_refused(desk: DeskClient, headers: dict[str, str]) -> None:
    for path in ("start", "login", "rebirth", "stage", "logout"):
        reply = desk.http.post(f"/desk/{path}", json={"language": "de"}, headers=headers)
        assert reply.status_code == 403, path
    assert desk.owner.get("/state")["phase"] == "waiting"
    assert desk.state()["blank"] is False


def test_our_own_pages_requests_are_taken(desk: DeskClient) -> None:
    headers = {"Origin": desk.owner.address, "Sec-Fetch-Site": "same-origin"}
    assert desk.http.post("/desk/stage", json={"blank": False}, headers=headers).status_code == 200


def test_leaving_and_a_new_pin_close_the_desk(desk: DeskClient) -> None:
    desk.press("logout")
    assert desk.http.get("/desk/state").status_code == 401
    assert desk.login().status_code == 200
    change_pin(desk.owner.cluster.paths, "480213")
    assert desk.http.get("/desk/state").status_code == 401
    assert desk.login("480213").status_code == 200


def test_wrong_pins_are_slowed_and_keep_nobody_else_out(tmp_path: Path) -> None:
    """The attack of eight addresses that guess without a pause, and of one that the operator shares."""
    with played_owner(tmp_path) as owner:
        desk, stop = DeskClient(owner), threading.Event()
        guesses: Counter[int] = Counter()

        def guess(address: str) -> None:
            transport = httpx.HTTPTransport(local_address=address)
            with httpx.Client(base_url=owner.address, transport=transport) as http:
                while not stop.is_set():
                    guesses[http.post("/desk/login", json={"pin": "000000"}).status_code] += 1

        with ThreadPoolExecutor(8) as pool:
            for number in range(2, 10):
                pool.submit(guess, f"127.0.0.{number}")
            try:
                until(lambda: guesses[429] > 100, "the guessers to be slowed")
                assert [desk.login().status_code for _ in range(6)] == [200] * 6
            finally:
                stop.set()
        assert set(guesses) == {401, 429} and guesses[401] < 8 * 8

        # From the operator's own address, as behind a tunnel: a browser that was there before has room.
        replies = [httpx.post(f"{owner.address}/desk/login", json={"pin": "000000"}) for _ in range(5)]
        assert [reply.status_code for reply in replies] == [401] * 4 + [429]
        assert replies[0].json() == {"error": "This is not the PIN."}
        assert int(replies[-1].headers["retry-after"]) in (1, 2)
        assert "try again in" in replies[-1].json()["error"]
        assert desk.login().status_code == 200

        # A browser that never was has the link.
        token = make_login_token(owner.cluster.paths)
        with httpx.Client(base_url=owner.address) as newcomer:
            assert newcomer.get("/desk/enter?once=wrong").status_code == 403
            entered = newcomer.get(f"/desk/enter?once={token}", follow_redirects=True)
            assert entered.url.path == "/desk" and newcomer.get("/desk/state").status_code == 200
        assert httpx.get(f"{owner.address}/desk/enter?once={token}").status_code == 403


# --- what is shown -------------------------------------------------------------------------------------------------


def test_lights_and_numbers_of_a_healthy_run(desk: DeskClient) -> None:
    desk.press("start", {"language": "de"})
    desk.owner.cluster.until_phase("running")
    desk.owner.say(SECRET, "s1")
    desk.owner.train()
    state = desk.state()
    assert desk.light("owner") == ("good", "lives")
    assert desk.light("inference") == ("good", "ready")
    assert desk.light("worker") == ("good", "training")
    assert desk.light("stage") == ("off", "nobody")
    assert state["run"]["round"]["step"] == 4
    assert [(loss["iteration"], loss["step"]) for loss in state["losses"]] == [(0, step) for step in (1, 2, 3, 4)]
    desk.owner.hand_in()
    desk.owner.say(SECRET, "s1")

    def measured() -> dict[int, dict[str, Any]]:
        measures = {measure["iteration"]: measure for measure in desk.state()["measures"]}
        return measures if 0 in measures else {}

    measures = until(measured, "measures of iteration 0")
    assert measures[-1]["answers"] >= 3
    assert 0 < measures[-1]["distinct_2"] <= 1 and 0 <= measures[-1]["repetition"] < 1
    assert measures[-1]["entropy"] == pytest.approx(1.25)
    machine = state["machine"]
    assert 0 < machine["disk_free_gib"] <= machine["disk_total_gib"]
    assert 0 < machine["memory_free_gib"] < machine["memory_total_gib"]
    assert bool(machine["gpus"]) == (shutil.which("nvidia-smi") is not None)


def test_words_are_shown_only_to_who_asks(desk: DeskClient) -> None:
    desk.owner.begin("de")
    desk.owner.say(SECRET, "s1")
    text = desk.http.get("/desk/state").text
    assert SECRET not in text and KEPT_ANSWER not in text
    words = desk.http.get("/desk/words")
    assert words.headers["cache-control"] == "no-store"
    [exchange] = words.json()["exchanges"]
    assert exchange.pop("pair") > 0
    assert exchange == {"prompt": SECRET, "text": KEPT_ANSWER, "iteration": -1}
    desk.press("rebirth")
    assert desk.http.get("/desk/words").json()["exchanges"] == []


def test_a_stage_that_listens_is_counted(desk: DeskClient) -> None:
    with httpx.stream("GET", f"{desk.owner.address}/events", headers={"X-Key": desk.owner.cluster.keys.stage}):
        until(lambda: desk.light("stage") == ("good", "listens"), "the stage's light")
    until(lambda: desk.light("stage") == ("off", "nobody"), "the stage's leaving")


def test_inference_away_is_seen_and_seen_to_be_back(desk: DeskClient) -> None:
    desk.owner.cluster.kill_inference()
    until(lambda: desk.light("inference") == ("busy", "absent"), "the light to change")
    desk.owner.cluster.start_inference()
    until(lambda: desk.light("inference") == ("good", "ready"), "the light to be green again")


def test_a_pair_is_taken_out_of_the_run_with_its_echoes(desk: DeskClient) -> None:
    cluster = desk.owner.cluster
    desk.owner.begin("de")
    desk.owner.say(SECRET, "s1")
    desk.owner.say("Ein Wort, das bleibt", "s1")
    until(lambda: {pair["prompt"] for pair in cluster.pairs("echo")} >= {SECRET}, "echoes")
    exchanges = desk.http.get("/desk/words").json()["exchanges"]
    number = next(exchange["pair"] for exchange in exchanges if exchange["prompt"] == SECRET)
    of_it = [pair for pair in cluster.pairs() if pair["prompt"] == SECRET]
    reply = desk.press("remove_pair", {"pair": number})
    assert reply["pairs"] >= len(of_it) >= 2
    assert [exchange["prompt"] for exchange in desk.http.get("/desk/words").json()["exchanges"]] == [
        "Ein Wort, das bleibt"
    ]
    assert not any(SECRET in pair["prompt"] for pair in cluster.pairs())
    files = [path for path in cluster.paths.data.rglob("*") if path.is_file()]
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []
    assert "not in the run" in desk.refusal("remove_pair", 409, {"pair": number})
