"""The Tk window on a real display (Xvfb), against the real owner over real HTTP."""

from __future__ import annotations

import json
import queue
import re
import tkinter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.played_owner import KEPT, PlayedOwner, played_owner
from tests.seen_window import Seen, lasting_display, new_tk
from wmkml import wire
from wmkml.addresses import owner_url
from wmkml.gui.client import OwnerClient
from wmkml.gui.drawable import drawable, draws_colours
from wmkml.gui.main import fill
from wmkml.gui.news import News
from wmkml.gui.window import Window

TITLE = "Watch me kill my language"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedOwner]:
    with played_owner(tmp_path_factory.mktemp("house")) as one:
        yield one


@pytest.fixture
def owner(house: PlayedOwner) -> PlayedOwner:
    """The owner, waiting for a language."""
    house.fresh()
    return house


@pytest.fixture(scope="module")
def tk() -> Iterator[tkinter.Tk]:
    """One Tk for all tests of this file."""
    with new_tk(lasting_display()) as one:
        yield one


@pytest.fixture
def seen(tk: tkinter.Tk, owner: PlayedOwner) -> Iterator[Seen]:
    with closing(Seen(tk, fill(tk, owner.house.settings, owner.house.folder))) as one:
        one.until(lambda: "Wartet auf eine Sprache" in one.labels(), "the run's state is shown")
        yield one


def test_it_shows_the_run_its_words_and_its_measures(seen: Seen, owner: PlayedOwner, tmp_path: Path) -> None:
    owner.begin("de")
    owner.say("Wer bist du?", "another")
    for _ in range(2):
        owner.round()
    owner.train()
    seen.until(lambda: "Die Sprache lernt … 4/4" in seen.labels(), "it says that it learns")
    assert "Iteration 1 " in seen.labels()
    assert "Lernrate 0.0013" in seen.labels()
    assert re.search(r"Noch (30:00|29:\d\d)", seen.labels())
    points = seen.line("loss")
    assert len(points) == 2 * 12, "three rounds of four steps"
    assert points[1] < points[-1], "the loss fell, and the line with it"
    assert seen.line("bar"), "the bar of the round is filled"

    owner.say("Was ist ein\nHaus?", "another")
    seen.until(lambda: "Iteration 1" in seen.text(), "the answer is complete")
    assert seen.text().endswith(f"Was ist ein\nHaus?  ·  von einer anderen Station\n{KEPT}\nIteration 1")
    for measure in ("distinct_2", "repetition", "entropy"):
        assert len(seen.line(measure)) == 2 * 2, "two iterations answered"
    decayed = {shade for shade in seen.shades() if not shade.endswith(("-0-0", "-0-1", "-0-2"))}
    assert len(seen.shades() - decayed) > 2, "tokens are as pale as they were improbable"
    assert len(decayed) > 2, "and otherwise drawn when the language has begun to decay"
    colors = seen.picture(tmp_path / "running.png").convert("RGB").getcolors(maxcolors=2**24)
    assert colors is not None and len(colors) > 100, "the window shows something"


def test_tokens_come_one_by_one(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("en")
    seen.until(lambda: "The language is listening" in seen.labels(), "the labels follow the run's language")
    seen.press("Speak English")
    seen.until(seen.may_type, "one may type")
    seen.entry().insert(0, "What is a house?")
    owner.house.behave(pause=0.25)
    grown: list[str] = []

    def complete() -> bool:
        grown.append(seen.text())
        return "Iteration −1 (untouched)" in seen.text()

    seen.press("Send")
    seen.until(complete, "the answer is complete")
    assert len(set(grown)) > 4
    assert owner.get(f"/station?station={seen.client.station}")["exchanges"][0]["prompt"] == "What is a house?"


def test_it_shows_what_osc_carries(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    owner.round()
    owner.say("Und?", "another")
    seen.until(lambda: "/iteration 1" in seen.osc(), "the answer passed")
    told = seen.osc()
    for message in ("/wait_for_language 0", "/learning_rate 0.0015", "/loss 4  2.6", "/round/progress 1", "/swap 1"):
        assert message in told
    words = [line for line in told if line.split()[0] in ("/prompt", "/token", "/entropy", "/response")]
    assert words[:3] == ["/prompt “Und?”", "/token “Eine”  0.98", "/entropy 1.25"]
    assert words[-1] == f"/response “{KEPT}”"
    assert "OSC · was Musik und Bilder hören" in seen.labels()
    owner.end()
    seen.until(lambda: seen.osc()[-1:] == ["/wait_for_language 1"], "the end passed")
    assert seen.osc()[-3:-1] == ["/run_end 1", "/request_restart 1"]
    assert not any("“" in line for line in seen.osc()), "nobody's words stay"


def test_a_language_starts_a_run_only_while_one_is_awaited(seen: Seen, owner: PlayedOwner) -> None:
    assert "Was du schreibst, trainiert sie sofort." in seen.labels(), "it is told before one types, in German"
    assert "What you write trains it at once." in seen.labels(), "and in English"
    assert not seen.all("TEntry"), "before a language is chosen there is nowhere to type"
    seen.press("Begin in English")
    seen.until(lambda: "The language is listening" in seen.labels(), "the run has begun")
    seen.until(seen.may_type, "one may type")
    run = owner.get("/state")["run"]
    seen.press("Deutsch")
    seen.until(lambda: "Die Sprache hört zu" in seen.labels(), "the window speaks German")
    assert owner.get("/state")["run"] == run, "the run goes on"
    assert owner.get("/state")["language"] == "en"


def test_words_leave_with_their_run(seen: Seen, owner: PlayedOwner, tmp_path: Path) -> None:
    owner.begin("de")
    owner.round()
    owner.say("Merk dir das.", "another")
    seen.until(lambda: "Merk dir das." in seen.text() and seen.line("loss"), "words and losses are shown")
    owner.round()
    owner.round()
    seen.until(lambda: "Letzte Worte" in seen.labels(), "last words")
    seen.picture(tmp_path / "last-words.png")
    owner.end()
    seen.until(lambda: "Wartet auf eine Sprache" in seen.labels(), "the run is over")
    assert seen.text().startswith(f"{TITLE}\nSie ist verstummt.")
    assert not seen.line("loss") and not seen.line("distinct_2")
    seen.picture(tmp_path / "reborn.png")


def test_who_leaves_is_forgotten_and_their_answer_given_up(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    seen.join()
    owner.hesitate()
    seen.say("Das bleibt unter uns.")
    seen.until(lambda: "Eine Sprache" in seen.text(), "the answer is under way")
    station = seen.client.station
    seen.press("Gehen")
    assert "unter uns" not in seen.text() and not any("“" in line for line in seen.osc())
    assert not seen.all("TEntry"), "the next visitor chooses first"
    seen.until(lambda: owner.house.known()["cancelled"] == 1, "nobody waits for the answer any more")
    owner.house.behave(pause=0.0)
    seen.join()
    assert seen.client.station != station, "what one says next continues no other's conversation"
    seen.say("Und ich?")
    seen.until(lambda: "Iteration −1" in seen.text(), "the next visitor is answered")
    assert "unter uns" not in seen.text()
    assert [one["prompt"] for one in owner.get(f"/station?station={seen.client.station}")["exchanges"]] == ["Und ich?"]


@pytest.mark.parametrize("everybody", [True, False])
def test_who_is_away_is_forgotten(tk: tkinter.Tk, owner: PlayedOwner, everybody: bool) -> None:
    news: queue.Queue[News] = queue.Queue()
    key = owner.house.keys.stage if everybody else None
    client = OwnerClient(owner_url(owner.house.settings), lambda: key, news)
    clock = [0.0]
    window = Window(tk, client, "de", now=lambda: clock[0])

    def turn() -> None:
        tk.update()
        while not news.empty():
            one = news.get()
            if isinstance(one, wire.RunState):
                one = one.model_copy(update={"idle_seconds": 60.0})
            window.show(one)
        window.tick()

    with closing(Seen(tk, client, turn)) as seen:
        client.start()
        owner.begin("de")
        seen.join()
        assert "wenn 60 s niemand da ist" in seen.labels()
        seen.say("Bin gleich zurück.")
        seen.until(lambda: "Iteration −1" in seen.text(), "the answer is complete")
        tk.event_generate("<Motion>", x=200, y=200)
        clock[0] = 55.0
        turn()
        assert "Noch da? In 6 s" in seen.labels()
        tk.event_generate("<Motion>", x=220, y=220)
        turn()
        assert "Noch da?" not in seen.labels() and "gleich zurück" in seen.text(), "who moves is there"
        clock[0] = 116.0
        turn()
        assert seen.text().startswith(TITLE), "nothing is left to read"
        assert not seen.all("TEntry")
        seen.join()
        seen.say("Ich bin neu.")
        seen.until(lambda: "Iteration −1" in seen.text(), "the next visitor is heard and answered")
        assert "gleich zurück" not in seen.text()


def test_it_survives_the_owner(seen: Seen, owner: PlayedOwner, tmp_path: Path) -> None:
    owner.begin("de")
    seen.join()
    seen.say("Merk dir mich.")
    seen.until(lambda: "Iteration −1" in seen.text(), "the answer is complete")
    owner.kill()
    seen.until(lambda: "nicht zu erreichen" in seen.labels(), "it says that the owner is away")
    seen.picture(tmp_path / "away.png")
    owner.start()
    seen.until(lambda: "nicht zu erreichen" not in seen.labels(), "it found the owner again")
    assert "Merk dir mich." in seen.text(), "the conversation is still there"
    owner.round()
    seen.until(lambda: "Iteration 0" in seen.labels(), "it hears what happens now")
    seen.say("Bist du noch da?")
    seen.until(lambda: "Bist du noch da?\nEine Sprache" in seen.text(), "and one can go on talking")


def test_an_answer_that_breaks_off_gives_the_words_back(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    seen.join()
    owner.hesitate()
    seen.say("Und dann?")
    seen.until(lambda: "Eine Sprache" in seen.text(), "the answer is under way")
    owner.kill()
    seen.until(lambda: seen.entry().get() == "Und dann?", "the words are back")
    assert "Eine Sprache" in seen.text(), "what there was of the answer stays"


def test_a_refusal_is_shown_as_a_sentence(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    seen.join()
    seen.say("x" * 10_000)
    seen.until(lambda: "Das ging nicht: " in seen.labels(), "the owner's sentence is shown")
    assert seen.entry().get() == "x" * 10_000
    seen.until(lambda: "…" not in seen.text(), "no answer is waited for")


def test_whatever_is_written_is_text(seen: Seen, owner: PlayedOwner, tmp_path: Path) -> None:
    answer = ["<b>", "مرحبا ", "שלום ", "👩‍👩‍👧 ", "☀️ ", "\u202e", "<script>alert(1)</script>", " {[exec ls]} $x \\n."]
    owner.house.behave(words=answer)
    owner.begin("de")
    seen.join()
    written = "<h1>مرحبا</h1> שלום ☀️ [exit] " + "ü" * 900
    seen.say(written)
    seen.until(lambda: "Iteration −1" in seen.text(), "it is answered")
    told = drawable("".join(answer), draws_colours(seen.tk))
    assert f"{written}\n{told}\nIteration −1" in seen.text()
    assert any("<script>alert(1)</script>" in line for line in seen.osc())
    seen.picture(tmp_path / "odd.png")


@pytest.mark.parametrize("content", ["no keys at all", json.dumps(dict.fromkeys(("stage", "worker", "operator"), "x"))])
def test_without_the_stages_key_its_own_words_are_shown(
    tk: tkinter.Tk, owner: PlayedOwner, tmp_path: Path, content: str
) -> None:
    keys = tmp_path / "data" / "keys.json"
    keys.parent.mkdir()
    keys.write_text(content)
    with closing(Seen(tk, fill(tk, owner.house.settings, tmp_path))) as seen:
        seen.until(lambda: "nur, was in diesem Fenster gesagt wird" in seen.labels(), "it says what it shows")
        owner.begin("de")
        owner.say("Von woanders.", "another")
        owner.say("Von hier.", seen.client.station)
        seen.until(lambda: "Von hier." in seen.text(), "its own words are shown")
        assert "Von woanders." not in seen.text()


def test_an_early_answer_is_out_of_sight_only_until_one_looks_for_it(seen: Seen, owner: PlayedOwner) -> None:
    owner.house.behave(pause=0.0)
    owner.begin("de")
    seen.until(lambda: "Die Sprache hört zu" in seen.labels(), "the run has begun")
    for number in range(12):
        owner.say(f"Frage {number}", "another")
    seen.until(lambda: seen.text().count("Iteration −1") == 12, "all are answered")
    seen.until(lambda: _in_sight(seen, "end-1c"), "the newest is in sight")
    seen.tk.event_generate("<Prior>")
    seen.until(lambda: not _in_sight(seen, "end-1c"), "Page Up shows what was said before")
    owner.say("Noch eine Frage", "another")
    seen.until(lambda: seen.text().count("Iteration −1") == 13, "it is answered")
    seen.tk.update()
    assert not _in_sight(seen, "end-1c"), "and whoever reads is left alone"
    for _ in range(3):
        seen.tk.event_generate("<Next>")
    seen.until(lambda: _in_sight(seen, "end-1c"), "Page Down leads back")


def _in_sight(seen: Seen, place: str) -> bool:
    return seen.chat().dlineinfo(place) is not None
