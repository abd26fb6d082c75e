"""Words that are not repeated, on the way from inference to the visitor's page, the stage, OSC, the card and the rounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until
from wmkml.access.pin import load_pin

pytestmark = pytest.mark.process

LIST = "endings: [n]\ncategories: {insults: [quappenkopf, antwort]}\n"
HELP = {"de": "Du bist nicht allein: 0800 1110111.", "en": "You are not alone."}
DESPAIR = "Ich will einfach nur noch sterben, Xylophonquappe."
ANSWER = ["Du ", "Quap", "pen", "kopf", ", ", "ein Haus", "."]


@pytest.fixture(scope="module")
def strict_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    """A cluster with all switches on, a list of its own, and answers that hold an entry of it."""
    folder = tmp_path_factory.mktemp("strict")
    (folder / "words").mkdir()
    (folder / "words" / "de.yaml").write_text(LIST, encoding="utf-8")
    more = {"decency.help_line": HELP, "general.autopsy": True}
    switches = {f"decency.{place}": True for place in ("visitor", "stage", "card", "training")}
    with started_cluster(folder, **switches, **more) as cluster:
        cluster.behave(words=ANSWER, alternatives=[["pe", 0.2], ["penkopf", 0.1]])
        cluster.begin()
        yield cluster


def words_until(events: Iterator[httpx_sse.ServerSentEvent], station: str, end: str) -> list[tuple[str, str]]:
    """Name and text of the next events of a station, to the one called `end`."""
    words = []
    for event in events:
        data: dict[str, Any] = json.loads(event.data)
        if data.get("station") == station and "text" in data:
            words.append((event.event, data["text"]))
            if event.event == end:
                return words
    return words


def test_a_word_of_the_lists_reaches_neither_page_nor_stage_nor_card(strict_cluster: OwnerCluster) -> None:
    stage = strict_cluster.events()
    next(stage)  # the state: it listens now
    events = strict_cluster.chat("Wer ist ein Qu4ppenkopf?", station="a")
    tokens = [data for name, data in events if name == "token"]
    assert "".join(token["text"] for token in tokens) == "Du …, ein Haus."
    assert len(tokens) == len(ANSWER)
    # The alternatives of tokens that were replaced are gone, and what would complete an entry is nowhere.
    shown = [[other["text"] for other in token["alternatives"]] for token in tokens]
    assert shown[1:4] == [[], [], []] and shown[5] == ["pe", "penkopf"]
    end = events[-1][1]
    assert end["text"] == "Du …, ein Haus." and end["kept"] == len(end["text"])
    stored = strict_cluster.owner.get("/station?station=a&tokens=5").json()["exchanges"][0]
    assert stored["text"] == end["text"]
    assert [token["text"] for token in stored["tokens"]] == [token["text"] for token in tokens]
    assert stored["prompt"] == "Wer ist ein Qu4ppenkopf?"  # the visitor's own page

    on_stage = words_until(stage, "a", "response")
    assert on_stage[0] == ("prompt", "Wer ist ein …?")
    assert "".join(text for name, text in on_stage if name == "token") == "Du …, ein Haus."
    assert on_stage[-1] == ("response", "Du …, ein Haus.")

    original = strict_cluster.owner.post("/generate_gui", json={"prompt": "Sag", "station": "b"}).json()
    assert original["text"] == "Du …, ein Haus."
    card = strict_cluster.owner.post("/card", json={"station": "a"}).text
    assert "Wer ist ein …?" in card and "Du …, ein Haus." in card and "uappenkopf" not in card


def test_no_round_trains_on_it_and_the_store_keeps_it_as_it_was(strict_cluster: OwnerCluster) -> None:
    strict_cluster.chat("Noch einmal", station="c")
    until(lambda: strict_cluster.counts()["echo"] >= 2, "echoes")
    visitor = strict_cluster.pairs("visitor")
    assert all(pair["answer"] == "".join(ANSWER) and not pair["live"] for pair in visitor)
    # The stand-in's other answers hold an entry as well; of the seed, too, none is live.
    assert not any(pair["live"] for pair in strict_cluster.pairs())


def test_somebody_who_writes_of_harming_themselves_is_offered_help_and_nobody_else_hears(
    strict_cluster: OwnerCluster,
) -> None:
    cluster = strict_cluster
    cluster.osc_addresses()
    stage = cluster.events()
    next(stage)
    events = cluster.chat(DESPAIR, station="d", language="de")
    assert events[0][1]["help"] == HELP["de"] and events[-1][0] == "end"
    # The same words from a station that speaks English, and others afterwards, which are heard.
    assert cluster.chat(DESPAIR, station="e", language="en")[0][1]["help"] == HELP["en"]
    assert cluster.chat("Ich sterbe vor Lachen", station="d")[0][1]["help"] == ""
    heard = [event.data for event in _until_response(stage)]
    assert any("vor Lachen" in data for data in heard) and not any("Xylophonquappe" in data for data in heard)

    [pair] = [pair for pair in cluster.pairs("visitor") if pair["station"] == "d" and pair["prompt"] == DESPAIR]
    assert not pair["live"]
    until(lambda: any(pair["station"] == "d" for pair in cluster.pairs("echo")), "echoes of the other prompt")
    assert not any(pair["prompt"] == DESPAIR for pair in cluster.pairs("echo"))
    # Inference sends OSC of visitors' prompts alone.
    requests = cluster.stand_in_state()["requests"]
    audiences = {request["audience"] for request in requests if _last(request) == DESPAIR}
    assert audiences == {"api"}
    # Nor is an answer that a room hears generated with them.
    cluster.chat("Und dann?", station="d")
    requests = cluster.stand_in_state()["requests"]
    [asked] = [request for request in requests if request["audience"] == "visitor" and _last(request) == "Und dann?"]
    assert [message["content"] for message in asked["messages"] if message["role"] == "user"] == [
        "Ich sterbe vor Lachen",
        "Und dann?",
    ]
    card = cluster.owner.post("/card", json={"station": "d"}).text
    assert "Lachen" in card and "Xylophonquappe" not in card
    assert cluster.owner.post("/card", json={"station": "e"}).status_code == 409
    assert "Xylophonquappe" not in cluster.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("reader", ["visitor", "stage", "operator"])
def test_the_autopsy_shows_everybody_what_they_may_read(strict_cluster: OwnerCluster, reader: str) -> None:
    cluster = strict_cluster
    if cluster.state()["phase"] != "last_words":
        with httpx.Client(base_url=cluster.owner.base_url) as desk:
            assert desk.post("/desk/login", json={"pin": load_pin(cluster.paths)}).status_code == 200
            assert desk.post("/desk/last_words").status_code == 200
        cluster.until_phase("last_words")
    headers = {"visitor": {}, "stage": {"X-Key": cluster.keys.stage}, "operator": {"X-Key": cluster.keys.operator}}
    raw = reader == "operator"

    def answer_tokens(**body: Any) -> list[dict[str, Any]]:
        body = {"prompt": "Wer?", "iterations": [-1]} | body
        reply = cluster.owner.post("/autopsy/answers", json=body, headers=headers[reader])
        assert reply.status_code == 200, reply.text
        events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
        return [event for event in events if "likeliest" in event]

    def candidates(before: list[int]) -> list[str]:
        body = {"prompt": "Wer?", "answer_ids": before}
        reply = cluster.owner.post("/autopsy/next", json=body, headers=headers[reader])
        assert reply.status_code == 200, reply.text
        return [token["text"] for token in reply.json()["selves"][0]["likeliest"]]

    tokens = answer_tokens()
    ids = [token["id"] for token in tokens]
    assert len(set(ids)) == len(ANSWER)  # which stay: a fork goes on from them
    assert "".join(token["text"] for token in tokens) == ("".join(ANSWER) if raw else "Du …, ein Haus.")
    assert raw == ("uappenkopf" in json.dumps(tokens) or "penkopf" in json.dumps(tokens))
    # A fork in the middle of an entry completes none, and a place there does not name what would.
    assert "".join(token["text"] for token in answer_tokens(answer_ids=ids[:3])) == (
        "kopf, ein Haus." if raw else ", ein Haus."
    )
    assert candidates(ids[:2]) == ["pen", "pe", "penkopf"] if raw else ["pen", "pe", "…"]
    assert candidates(ids[:3])[0] == ("kopf" if raw else "…")


def _last(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def _until_response(events: Iterator[httpx_sse.ServerSentEvent]) -> Iterator[httpx_sse.ServerSentEvent]:
    for event in events:
        yield event
        if event.event == "response":
            return


def test_what_nobody_switched_on_changes_nothing(cluster: OwnerCluster) -> None:
    (cluster.folder / "words").mkdir()
    (cluster.folder / "words" / "de.yaml").write_text(LIST, encoding="utf-8")
    cluster.behave(words=ANSWER)
    cluster.begin()
    assert cluster.chat(DESPAIR, station="b")[0][1]["help"] == ""
    events = cluster.chat("Quappenkopf", station="a")
    assert [data["text"] for name, data in events if name == "token"] == ANSWER
    assert all(pair["live"] for pair in cluster.pairs("visitor"))


def test_a_list_that_cannot_be_used_ends_the_start_with_its_name(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cluster = OwnerCluster(tmp_path_factory.mktemp("broken"), **{"decency.visitor": True})
    try:
        (cluster.folder / "words").mkdir()
        (cluster.folder / "words" / "de.yaml").write_text("words: [a]", encoding="utf-8")
        cluster.start_owner(wait=False)
        assert cluster.owner_process is not None and cluster.owner_process.wait(60) == 2
        assert "de.yaml: 'words' is no key" in cluster.log.read_text(encoding="utf-8")
    finally:
        cluster.stop()
