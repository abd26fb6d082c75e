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

from tests.gui.window_driver import WindowDriver, lasting_display, new_tk
from tests.owner.played_owner import KEPT_ANSWER, PlayedOwner, played_owner
from wmkml.config.addresses import owner_url
from wmkml.gui.client import WindowOwnerClient
from wmkml.gui.events import WindowEvent
from wmkml.gui.main import build_window
from wmkml.gui.text_sanitizing import displayable, draws_colour_emoji
from wmkml.gui.window import Window
from wmkml.measures.registry import measured_once
from wmkml.protocol.run_state import RunState

pytestmark = pytest.mark.process

TITLE = "Watch me kill my language"


@pytest.fixture(scope="module")
def tk() -> Iterator[tkinter.Tk]:
    """One Tk for all tests of this file."""
    with new_tk(lasting_display()) as tk:
        yield tk


@pytest.fixture
def driver(tk: tkinter.Tk, owner: PlayedOwner) -> Iterator[WindowDriver]:
    with closing(WindowDriver(tk, build_window(tk, owner.cluster.settings, owner.cluster.folder))) as window:
        window.until(lambda: "Wartet auf eine Sprache" in window.labels(), "the run's state is shown")
        yield window


def test_it_shows_the_run_its_words_and_its_measures(driver: WindowDriver, owner: PlayedOwner, tmp_path: Path) -> None:
    owner.begin("de")
    owner.say("Wer bist du?", "another")
    for _ in range(2):
        owner.play_round()
    owner.train()
    driver.until(lambda: "Die Sprache lernt … 4/4" in driver.labels(), "it says that it learns")
    assert "Iteration 1 " in driver.labels()
    assert "Lernrate 0.0013" in driver.labels()
    assert re.search(r"Noch (30:00|29:\d\d)", driver.labels())
    points = driver.line("loss")
    assert len(points) == 2 * 12, "three rounds of four steps"
    assert points[1] < points[-1], "the loss fell, and the line with it"
    assert driver.line("bar"), "the bar of the round is filled"

    owner.say("Was ist ein\nHaus?", "another")
    driver.until(lambda: "Iteration 1" in driver.text(), "the answer is complete")
    assert driver.text().endswith(f"Was ist ein\nHaus?  ·  von einer anderen Station\n{KEPT_ANSWER}\nIteration 1")
    for measure in ("distinct_2", "repetition", "entropy"):
        assert len(driver.line(measure)) == 2 * 2, "two iterations answered"
    for measured in measured_once():
        if "window" in measured.windows:
            assert len(driver.line(measured.name)) == 2 * 3, "three were measured, with the base model"
    decayed = {shade for shade in driver.shades() if not shade.endswith(("-0-0", "-0-1", "-0-2"))}
    assert len(driver.shades() - decayed) > 2, "tokens are as pale as they were improbable"
    assert len(decayed) > 2, "and otherwise drawn when the language has begun to decay"
    colors = driver.picture(tmp_path / "running.png").convert("RGB").getcolors(maxcolors=2**24)
    assert colors is not None and len(colors) > 100, "the window shows something"


@pytest.mark.parametrize("size", ["1280x800", "1920x1080"])
def test_what_a_plot_says_never_lies_over_its_line(owner: PlayedOwner, size: str, tmp_path: Path) -> None:
    width, height = map(int, size.split("x"))
    with new_tk(lasting_display("1920x1080")) as tk:
        window = build_window(tk, owner.cluster.settings, owner.cluster.folder)
        with closing(WindowDriver(tk, window)) as driver:
            driver.until(lambda: "Wartet auf eine Sprache" in driver.labels(), "the run's state is shown")
            tk.geometry(f"{size}+0+0")
            owner.begin("de")
            for number in range(2):
                owner.say(f"Wer bist du {number}?", "another")
                owner.play_round()
            named = [measure.name for measure in measured_once() if "window" in measure.windows]
            driver.until(
                lambda: all(len(driver.line(name)) == 2 * 3 for name in named), "three iterations are measured"
            )
            driver.until(lambda: (tk.winfo_width(), tk.winfo_height()) == (width, height), "the window has its size")
            driver.picture(tmp_path / f"{size}.png")
            plots = [canvas for canvas in driver.all("Canvas") if isinstance(canvas, tkinter.Canvas)]
            for name in named:
                [plot] = [canvas for canvas in plots if canvas.find_withtag(name)]
                label, line, value = (plot.bbox(tag) for tag in ("label", name, "value"))
                assert 0 <= label[0] < label[2] <= line[0] < line[2] <= value[0] < value[2] <= plot.winfo_width(), name
                assert line[2] - line[0] >= 28, f"{name}: too short to be seen"
                for _, top, _, bottom in (label, line, value):
                    assert -1 <= top < bottom <= plot.winfo_height() + 1, name
            in_window = [plot.winfo_rooty() + plot.winfo_height() <= height for plot in plots]
            assert all(in_window)


def test_tokens_come_one_by_one(driver: WindowDriver, owner: PlayedOwner) -> None:
    owner.begin("en")
    driver.until(lambda: "The language is listening" in driver.labels(), "the labels follow the run's language")
    driver.press("Speak English")
    driver.until(driver.may_type, "one may type")
    driver.entry().insert(0, "What is a house?")
    owner.cluster.behave(pause=0.15)
    grown: list[str] = []

    def complete() -> bool:
        grown.append(driver.text())
        return "Iteration −1 (untouched)" in driver.text()

    driver.press("Send")
    driver.until(complete, "the answer is complete")
    assert len(set(grown)) > 4
    assert owner.get(f"/station?station={driver.client.station}")["exchanges"][0]["prompt"] == "What is a house?"


def test_it_shows_what_osc_carries(driver: WindowDriver, owner: PlayedOwner) -> None:
    owner.begin("de")
    owner.play_round()
    owner.say("Und?", "another")
    driver.until(lambda: "/iteration 1" in driver.osc(), "the answer passed")
    messages = driver.osc()
    for message in (
        "/collapse/perplexity 0.2",
        "/wait_for_language 0",
        "/learning_rate 0.0015",
        "/loss 4  2.6",
        "/round/progress 1",
        "/swap 1",
    ):
        assert message in messages
    words = [line for line in messages if line.split()[0] in ("/prompt", "/token", "/entropy", "/response")]
    assert words[:3] == ["/prompt “Und?”", "/token “Eine”  0.98", "/entropy 1.25"]
    assert words[-1] == f"/response “{KEPT_ANSWER}”"
    assert "OSC · was Musik und Bilder hören" in driver.labels()
    owner.end()
    driver.until(lambda: driver.osc()[-1:] == ["/wait_for_language 1"], "the end passed")
    assert driver.osc()[-3:-1] == ["/run_end 1", "/request_restart 1"]
    assert not any("“" in line for line in driver.osc()), "nobody's words stay"


def test_a_language_starts_a_run_only_while_one_is_awaited(driver: WindowDriver, owner: PlayedOwner) -> None:
    assert "Was du schreibst, trainiert sie sofort." in driver.labels(), "it is told before one types, in German"
    assert "What you write trains it at once." in driver.labels(), "and in English"
    assert not driver.all("TEntry"), "before a language is chosen there is nowhere to type"
    driver.press("Begin in English")
    driver.until(lambda: "The language is listening" in driver.labels(), "the run has begun")
    driver.until(driver.may_type, "one may type")
    run = owner.get("/state")["run"]
    driver.press("Deutsch")
    driver.until(lambda: "Die Sprache hört zu" in driver.labels(), "the window speaks German")
    assert owner.get("/state")["run"] == run, "the run goes on"
    assert owner.get("/state")["language"] == "en"


def test_words_leave_with_their_run(driver: WindowDriver, owner: PlayedOwner, tmp_path: Path) -> None:
    owner.answer_at_once()
    owner.begin("de")
    owner.play_round()
    owner.say("Merk dir das.", "another")
    driver.until(lambda: "Merk dir das." in driver.text() and driver.line("loss"), "words and losses are shown")
    owner.play_round()
    owner.play_round()
    driver.until(lambda: "Letzte Worte" in driver.labels(), "last words")
    driver.picture(tmp_path / "last-words.png")
    owner.end()
    driver.until(lambda: "Wartet auf eine Sprache" in driver.labels(), "the run is over")
    assert driver.text().startswith(f"{TITLE}\nSie ist verstummt.")
    assert not driver.line("loss") and not driver.line("distinct_2")
    driver.picture(tmp_path / "reborn.png")


def test_who_leaves_is_forgotten_and_their_answer_given_up(driver: WindowDriver, owner: PlayedOwner) -> None:
    owner.begin("de")
    driver.join()
    owner.hesitate()
    driver.say("Das bleibt unter uns.")
    driver.until(lambda: "Eine Sprache" in driver.text(), "the answer is under way")
    station = driver.client.station
    driver.press("Gehen")
    assert "unter uns" not in driver.text() and not any("“" in line for line in driver.osc())
    assert not driver.all("TEntry"), "the next visitor chooses first"
    driver.until(lambda: owner.cluster.stand_in_state()["cancelled"] == 1, "nobody waits for the answer any more")
    owner.cluster.behave(pause=0.0)
    driver.join()
    assert driver.client.station != station, "what one says next continues no other's conversation"
    driver.say("Und ich?")
    driver.until(lambda: "Iteration −1" in driver.text(), "the next visitor is answered")
    assert "unter uns" not in driver.text()
    exchanges = owner.get(f"/station?station={driver.client.station}")["exchanges"]
    assert [exchange["prompt"] for exchange in exchanges] == ["Und ich?"]


@pytest.mark.parametrize("everybody", [True, False])
def test_who_is_away_is_forgotten(tk: tkinter.Tk, owner: PlayedOwner, everybody: bool) -> None:
    events: queue.Queue[WindowEvent] = queue.Queue()
    key = owner.cluster.keys.stage if everybody else None
    client = WindowOwnerClient(owner_url(owner.cluster.settings), lambda: key, events)
    clock = [0.0]
    window = Window(tk, client, "de", now=lambda: clock[0])

    def turn() -> None:
        tk.update()
        while not events.empty():
            event = events.get()
            if isinstance(event, RunState):
                event = event.model_copy(update={"idle_seconds": 60.0})
            window.show(event)
        window.tick()

    owner.answer_at_once()
    with closing(WindowDriver(tk, client, turn)) as driver:
        client.start()
        owner.begin("de")
        driver.join()
        assert "wenn 60 s niemand da ist" in driver.labels()
        driver.say("Bin gleich zurück.")
        driver.until(lambda: "Iteration −1" in driver.text(), "the answer is complete")
        tk.event_generate("<Motion>", x=200, y=200)
        clock[0] = 55.0
        turn()
        assert "Noch da? In 6 s" in driver.labels()
        tk.event_generate("<Motion>", x=220, y=220)
        turn()
        assert "Noch da?" not in driver.labels() and "gleich zurück" in driver.text(), "who moves is there"
        clock[0] = 116.0
        turn()
        assert driver.text().startswith(TITLE), "nothing is left to read"
        assert not driver.all("TEntry")
        driver.join()
        driver.say("Ich bin neu.")
        driver.until(lambda: "Iteration −1" in driver.text(), "the next visitor is heard and answered")
        assert "gleich zurück" not in driver.text()


def test_it_survives_the_owner(driver: WindowDriver, owner: PlayedOwner, tmp_path: Path) -> None:
    owner.answer_at_once()
    owner.begin("de")
    driver.join()
    driver.say("Merk dir mich.")
    driver.until(lambda: "Iteration −1" in driver.text(), "the answer is complete")
    owner.kill()
    driver.until(lambda: "nicht zu erreichen" in driver.labels(), "it says that the owner is away")
    driver.picture(tmp_path / "away.png")
    owner.start()
    driver.until(lambda: "nicht zu erreichen" not in driver.labels(), "it found the owner again")
    assert "Merk dir mich." in driver.text(), "the conversation is still there"
    owner.play_round()
    driver.until(lambda: "Iteration 0" in driver.labels(), "it hears what happens now")
    driver.say("Bist du noch da?")
    driver.until(lambda: "Bist du noch da?\nEine Sprache" in driver.text(), "and one can go on talking")


def test_an_answer_that_breaks_off_gives_the_words_back(driver: WindowDriver, owner: PlayedOwner) -> None:
    owner.begin("de")
    driver.join()
    owner.hesitate()
    driver.say("Und dann?")
    driver.until(lambda: "Eine Sprache" in driver.text(), "the answer is under way")
    owner.kill()
    driver.until(lambda: driver.entry().get() == "Und dann?", "the words are back")
    assert "Eine Sprache" in driver.text(), "what there was of the answer stays"


def test_a_refusal_is_shown_as_a_sentence(driver: WindowDriver, owner: PlayedOwner) -> None:
    owner.begin("de")
    driver.join()
    driver.say("x" * 10_000)
    driver.until(lambda: "Das ging nicht: " in driver.labels(), "the owner's sentence is shown")
    assert driver.entry().get() == "x" * 10_000
    driver.until(lambda: "…" not in driver.text(), "no answer is waited for")


def test_whatever_is_written_is_text(driver: WindowDriver, owner: PlayedOwner, tmp_path: Path) -> None:
    answer = ["<b>", "مرحبا ", "שלום ", "👩‍👩‍👧 ", "☀️ ", "\u202e", "<script>alert(1)</script>", " {[exec ls]} $x \\n."]
    owner.cluster.behave(words=answer)
    owner.begin("de")
    driver.join()
    written = "<h1>مرحبا</h1> שלום ☀️ [exit] " + "ü" * 900
    driver.say(written)
    driver.until(lambda: "Iteration −1" in driver.text(), "it is answered")
    displayed = displayable("".join(answer), draws_colour_emoji(driver.tk))
    assert f"{written}\n{displayed}\nIteration −1" in driver.text()
    assert any("<script>alert(1)</script>" in line for line in driver.osc())
    driver.picture(tmp_path / "odd.png")


@pytest.mark.parametrize("content", ["no keys at all", json.dumps(dict.fromkeys(("stage", "worker", "operator"), "x"))])
def test_without_the_stages_key_its_own_words_are_shown(
    tk: tkinter.Tk, owner: PlayedOwner, tmp_path: Path, content: str
) -> None:
    keys = tmp_path / "data" / "keys.json"
    keys.parent.mkdir()
    keys.write_text(content)
    with closing(WindowDriver(tk, build_window(tk, owner.cluster.settings, tmp_path))) as driver:
        owner.answer_at_once()
        driver.until(lambda: "nur, was in diesem Fenster gesagt wird" in driver.labels(), "it says what it shows")
        owner.begin("de")
        owner.say("Von woanders.", "another")
        owner.say("Von hier.", driver.client.station)
        driver.until(lambda: "Von hier." in driver.text(), "its own words are shown")
        assert "Von woanders." not in driver.text()


def test_an_early_answer_is_out_of_sight_only_until_one_looks_for_it(driver: WindowDriver, owner: PlayedOwner) -> None:
    owner.answer_at_once()
    owner.begin("de")
    driver.until(lambda: "Die Sprache hört zu" in driver.labels(), "the run has begun")
    for number in range(12):
        owner.say(f"Frage {number}", "another")
    driver.until(lambda: driver.text().count("Iteration −1") == 12, "all are answered")
    driver.until(lambda: _in_sight(driver, "end-1c"), "the newest is in sight")
    driver.tk.event_generate("<Prior>")
    driver.until(lambda: not _in_sight(driver, "end-1c"), "Page Up shows what was said before")
    owner.say("Noch eine Frage", "another")
    driver.until(lambda: driver.text().count("Iteration −1") == 13, "it is answered")
    driver.tk.update()
    assert not _in_sight(driver, "end-1c"), "and whoever reads is left alone"
    for _ in range(3):
        driver.tk.event_generate("<Next>")
    driver.until(lambda: _in_sight(driver, "end-1c"), "Page Down leads back")


def _in_sight(driver: WindowDriver, place: str) -> bool:
    return driver.chat().dlineinfo(place) is not None


HELP = "Du kannst jederzeit mit jemandem sprechen: 0800 1110111."


def test_a_line_of_help_is_shown_with_the_answer_that_nobody_else_sees(tk: tkinter.Tk, tmp_path: Path) -> None:
    with (
        played_owner(tmp_path, **{"decency.help_line": {"de": HELP}}) as owner,
        closing(WindowDriver(tk, build_window(tk, owner.cluster.settings, owner.cluster.folder))) as driver,
    ):
        owner.answer_at_once()
        owner.begin("de")
        driver.join()
        driver.say("Ich will nicht mehr leben")
        driver.until(lambda: HELP in driver.text(), "the line of help")
        lines = [line for line in driver.text().split("\n") if line]
        assert lines == ["Ich will nicht mehr leben", KEPT_ANSWER, "Iteration −1 (unberührt)", HELP], (
            "once, in this order"
        )
        owner.say("Ich will nicht mehr leben", "another")
        owner.say("Was ist ein Haus?", "another")
        driver.until(lambda: "Was ist ein Haus?" in driver.text(), "the others' next words")
        assert driver.text().count("Ich will nicht mehr leben") == 1, "the other's are theirs alone"
        driver.say("Was ist ein Baum?")
        driver.until(lambda: "Was ist ein Baum?" in driver.text() and driver.may_type(), "an answer like any other")
        assert driver.text().count("Was ist ein Baum?") == 1 and driver.text().count(HELP) == 1
