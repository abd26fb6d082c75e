"""The page at `/` in a public room: absent visitors, broken connections, keyboards, accessibility, screen sizes."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx_sse
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, ViewportSize, expect

from tests.frontend.visiting import (
    OWNER_AWAY,
    begin,
    begin_by_keyboard,
    enter,
    pass_time,
    say,
    settled,
    stop_clock,
    violations,
    watched,
)
from tests.owner.played_owner import KEPT_ANSWER, PlayedOwner
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.process

IDLE_SECONDS = 900.0
"""Longer than any test takes; where a visitor is to be forgotten, the page's clock is put forward."""


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """Pages that forget a visitor who is absent for `IDLE_SECONDS`, one answer at a time, and a page on privacy."""
    return {
        "general.idle_seconds": IDLE_SECONDS,
        "inference.max_num_seqs": 1,
        "privacy.controller": "Kunsthaus Beispiel",
    }


def station_of(page: Page) -> str:
    return str(json.loads(page.evaluate("sessionStorage.station"))["station"])


def test_who_leaves_is_forgotten(visitor: BrowserContext, owner: PlayedOwner) -> None:
    visitor.clock.install()
    page = enter(visitor, owner)
    say(page, "Merk dir das.", answers=1)
    before = station_of(page)
    stop_clock(page)
    page.mouse.move(100, 100)
    pass_time(page, IDLE_SECONDS - 20)
    expect(page.locator("#still")).to_be_hidden()
    pass_time(page, 10)
    expect(page.locator("#still")).to_be_visible()
    expect(page.locator(".prompt")).to_have_text("Du: Merk dir das.")
    pass_time(page, 10)
    expect(page.locator("button[data-language=de]")).to_have_text("Auf Deutsch mitsprechen")
    expect(page.locator("#still")).to_be_hidden()
    assert "Merk dir das" not in page.content()
    assert "Haus aus" not in page.content()
    assert station_of(page) != before
    assert owner.get("/state")["phase"] == "running", "the run lives on"
    begin(page, "de")
    expect(page.locator(".prompt")).to_have_count(0)


@pytest.mark.parametrize("seconds", [IDLE_SECONDS - 60, IDLE_SECONDS + 60], ids=["soon", "too late"])
def test_who_leaves_by_a_link_is_forgotten_when_the_page_comes_back(
    visitor: BrowserContext, owner: PlayedOwner, seconds: float
) -> None:
    visitor.clock.install()
    page = enter(visitor, owner)
    say(page, "Merk dir das.", answers=1)
    before = station_of(page)
    page.goto(f"{owner.address}/privacy")  # which has no program that could forget anything
    visitor.clock.fast_forward(int(seconds * 1000))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{owner.address}/")
    if seconds < IDLE_SECONDS:
        expect(page.locator(".prompt")).to_have_text("Du: Merk dir das.")
        assert station_of(page) == before
    else:
        expect(page.locator("button[data-language=de]")).to_have_text("Auf Deutsch mitsprechen")
        assert station_of(page) != before
        assert not any("/station?" in url for url in asked), "no word was fetched"


def test_who_leaves_in_mid_answer_ends_it(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.cluster.behave(words=["Wort "] * 400, pause=0.3)
    visitor.clock.install()
    page = enter(visitor, owner)
    cancelled = owner.cluster.stand_in_state()["cancelled"]
    page.locator("#prompt").fill("Und dann?")
    page.keyboard.press("Enter")
    expect(page.locator(".token").first).to_be_visible()
    stop_clock(page)
    pass_time(page, IDLE_SECONDS)
    expect(page.locator("#threshold")).to_be_visible()
    assert "Und dann" not in page.content()
    until(lambda: owner.cluster.stand_in_state()["cancelled"] == cancelled + 1, "the generation to end")
    assert owner.cluster.pairs("visitor") == [], "nobody heard its end"


def test_it_survives_the_owner(visitor: BrowserContext, owner: PlayedOwner, failing_loads: set[str]) -> None:
    failing_loads.add(OWNER_AWAY)
    owner.answer_at_once()
    page = enter(visitor, owner)
    say(page, "Erste Frage", answers=1)
    owner.kill()
    expect(page.locator("#connection")).to_contain_text("Die Verbindung ist weg")
    owner.start()
    expect(page.locator("#connection")).to_be_empty()
    expect(page.locator(".prompt")).to_have_text("Du: Erste Frage")
    say(page, "Zweite Frage", answers=2)
    owner.play_round()
    expect(page.locator("#iteration")).to_have_text("Iteration 0")


def test_it_survives_the_network(visitor: BrowserContext, owner: PlayedOwner, failing_loads: set[str]) -> None:
    failing_loads.add(OWNER_AWAY)
    owner.answer_at_once()
    page = enter(visitor, owner)
    say(page, "Erste Frage", answers=1)
    visitor.set_offline(True)
    page.locator("#prompt").fill("Zweite Frage")
    page.keyboard.press("Enter")
    expect(page.locator(".note").last).to_contain_text("von selbst noch einmal gestellt")
    visitor.set_offline(False)
    settled(page)
    expect(page.locator(".prompt")).to_have_text(["Du: Erste Frage", "Du: Zweite Frage"])
    expect(page.locator("#trouble")).to_be_empty()


def test_an_answer_that_breaks_off_is_asked_again_without_a_reload(
    visitor: BrowserContext, owner: PlayedOwner, failing_loads: set[str]
) -> None:
    failing_loads.add(OWNER_AWAY)
    page = enter(visitor, owner)
    page.evaluate("window.loadedOnce = true")
    owner.hesitate()
    page.locator("#prompt").fill("Und dann?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer .token").first).to_be_visible()
    owner.kill()
    expect(page.locator(".note")).to_contain_text("von selbst noch einmal gestellt")
    expect(page.locator(".answer .token")).to_have_count(0)
    owner.answer_at_once()
    owner.start()
    settled(page)
    expect(page.locator(".answer")).to_have_text(KEPT_ANSWER)
    expect(page.locator(".note")).to_contain_text("noch einmal von vorn")
    expect(page.locator(".prompt")).to_have_text(["Du: Und dann?"])
    expect(page.locator("#trouble")).to_be_empty()
    assert page.evaluate("window.loadedOnce")
    assert [pair["prompt"] for pair in owner.cluster.pairs("visitor")] == ["Und dann?"]


def test_an_answer_whose_end_was_lost_is_not_asked_for_again(
    visitor: BrowserContext, owner: PlayedOwner, failing_loads: set[str]
) -> None:
    failing_loads.add(OWNER_AWAY)
    owner.answer_at_once()
    page = enter(visitor, owner)
    say(page, "Erste Frage", answers=1)

    def lose(route: Route) -> None:
        route.fetch()  # the owner has answered, and stored it
        route.abort()

    page.route("**/chat", lose, times=1)
    say(page, "Zweite Frage", answers=2)
    expect(page.locator(".answer")).to_have_text([KEPT_ANSWER, KEPT_ANSWER])
    assert [pair["prompt"] for pair in owner.cluster.pairs("visitor")] == ["Erste Frage", "Zweite Frage"]


def test_who_waits_sees_how_many_are_before(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    owner.cluster.behave(words=["Wort "] * 400, pause=0.3)
    queued = threading.Event()

    def talk(station: str) -> None:
        body = {"prompt": "Erzähl mir etwas", "station": station}
        with httpx_sse.connect_sse(owner.cluster.owner, "POST", "/chat", json=body) as source:
            for event in source.iter_sse():
                if event.event == "queued":
                    queued.set()

    with ThreadPoolExecutor(2) as others:
        chats = [others.submit(talk, "anna")]
        until(lambda: owner.cluster.stand_in_state()["under_way"] == 1, "the first answer")
        chats.append(others.submit(talk, "berta"))
        assert queued.wait(PATIENCE)
        page.locator("#prompt").fill("Und ich?")
        page.keyboard.press("Enter")
        expect(page.locator(".note")).to_have_text("vor dir ist noch eine Frage")
        owner.answer_at_once()  # and the answer under way runs to its end without a pause
        settled(page)
        for chat in chats:
            chat.result()
    expect(page.locator(".answer")).to_have_text(KEPT_ANSWER)
    expect(page.locator(".note")).to_contain_text("unberührt")


def test_a_refusal_is_a_sentence_and_costs_no_word(
    visitor: BrowserContext, owner: PlayedOwner, failing_loads: set[str]
) -> None:
    failing_loads.add("status of 400")
    owner.answer_at_once()
    page = enter(visitor, owner)
    page.locator("#prompt").fill("x" * 3000)
    page.keyboard.press("Enter")
    expect(page.locator("#trouble")).to_contain_text("Das ging nicht: ")
    expect(page.locator("#prompt")).to_have_value("x" * 3000)
    say(page, "kurz", answers=1)
    expect(page.locator("#trouble")).to_be_empty()


def test_by_keyboard_alone_and_typing_is_told(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.answer_at_once()
    owner.cluster.behave(alternatives=[["Kein ", 0.6]])
    visitor.clock.install()
    page = visitor.new_page()
    page.goto(owner.address + "/")
    begin_by_keyboard(page)
    page.keyboard.type("Hallo", delay=5)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("du", delay=5)
    page.keyboard.press("Enter")
    expect(page.locator(".prompt")).to_have_text("Du: Hallo\ndu")
    settled(page)
    until(lambda: owner.typing_reports() == ["typing", "stopped"], "typing is told once, and its end")
    page.keyboard.press("Shift+Tab")
    expect(page.locator(".answer")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#alternatives")).to_be_visible()
    expect(page.locator("#alternatives-said")).to_contain_text("Sprache")
    page.keyboard.press("Escape")
    expect(page.locator(".answer")).to_be_focused()
    page.keyboard.press("Tab")
    stop_clock(page)
    page.keyboard.type("Und")
    until(lambda: owner.typing_reports()[2:] == ["typing"], "that somebody types again")
    pass_time(page, 2)
    until(lambda: owner.typing_reports()[2:] == ["typing", "stopped"], "that who pauses has stopped")
    expect(page.get_by_label("Deine Worte", exact=True)).to_have_value("Und")


@pytest.mark.parametrize(("language", "keys", "typed"), [("de", "Äöß", "Äöß"), ("en", "Yz'", "Yz'")])
def test_the_pages_own_keyboard(
    visitor: BrowserContext, owner: PlayedOwner, language: str, keys: str, typed: str
) -> None:
    owner.answer_at_once()
    page = enter(visitor, owner, language, "?keyboard=1")
    board = page.locator(".simple-keyboard")
    expect(board).to_be_visible()
    expect(page.locator("#prompt")).to_have_attribute("inputmode", "none")

    def press(key: str) -> None:
        board.locator(f'button[data-skbtn="{key}"]').click()

    for key in keys:
        if key.isupper():
            press("{shift}")
        press(key)
    press("{space}")
    press("{bksp}")
    expect(page.locator("#prompt")).to_have_value(typed)
    press("{enter}")
    settled(page)
    expect(page.locator(".exchange .prompt")).to_contain_text(typed)
    page.locator("#keyboard-toggle").click()
    expect(board).to_have_count(0)


def test_nothing_is_selected_dragged_or_scrolled_that_should_not_be(
    visitor: BrowserContext, owner: PlayedOwner
) -> None:
    owner.answer_at_once()
    page = enter(visitor, owner)
    for number in range(5):
        say(page, f"{number} " + "w" * 90, answers=number + 1)
    page.evaluate("document.execCommand('selectAll')")
    assert page.evaluate("getSelection().toString()").strip() == ""
    prevented = (
        "(name) => !document.querySelector('.answer').dispatchEvent(new Event(name, {bubbles: true, cancelable: true}))"
    )
    assert [page.evaluate(prevented, name) for name in ("contextmenu", "dragstart", "drop")] == [True, True, True]
    bars = "(one) => one.offsetWidth - one.clientWidth"
    assert page.locator("#conversation").evaluate(bars) == 0
    assert page.evaluate("innerWidth - document.documentElement.clientWidth") == 0
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def test_nobody_is_kept_out(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.answer_at_once()
    owner.cluster.behave(alternatives=[["Kein ", 0.6], ["", 0.1]])
    page = visitor.new_page()
    page.goto(owner.address + "/")
    expect(page.locator("#threshold")).to_be_visible()
    assert violations(page) == []
    page.locator("button[data-language=de]").click()
    expect(page.locator("#begin")).to_be_focused()
    assert violations(page) == []
    page.locator("#begin").click()
    expect(page.locator("#talk")).to_be_visible()
    assert violations(page) == []
    for _ in range(3):
        owner.play_round()
    say(page, "Was ist eine Sprache?", answers=1)
    assert violations(page) == [], "the last words, in their faintest"
    page.locator(".token", has_text="Sprache").click()
    expect(page.locator("#alternatives")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.locator("#card-open").click()
    expect(page.locator("#card-save")).to_be_enabled()
    assert violations(page) == []


def test_it_fits_a_phone_and_a_wall(browser: Browser, owner: PlayedOwner) -> None:
    owner.answer_at_once()
    phone: ViewportSize = {"width": 390, "height": 844}
    wall: ViewportSize = {"width": 3840, "height": 2160}
    with watched(browser, owner.address, viewport=wall) as visitor:
        page = visitor.new_page()
        page.goto(owner.address + "/")
        for size in (wall, phone):
            page.set_viewport_size(size)
            expect(page.locator("button[data-language=de]")).to_be_in_viewport(ratio=1)
        page.locator("button[data-language=en]").click()
        for size in (wall, phone):
            page.set_viewport_size(size)
            expect(page.locator("#begin")).to_be_in_viewport(ratio=1)
        page.locator("#begin").click()
        for number in range(5):
            say(page, f"{number} " + "w" * 90, answers=number + 1)
        for answers, size in ((6, phone), (7, wall)):
            page.set_viewport_size(size)
            say(page, f"{answers} " + "w" * 90, answers=answers)
            width, height = size["width"], size["height"]
            assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
                width,
                height,
            ]
            expect(page.locator("#prompt")).to_be_in_viewport(ratio=1)
            expect(page.locator("#send")).to_be_in_viewport(ratio=1)
            expect(page.locator(".note").last).to_be_in_viewport()
            letters = float(page.locator(".answer").first.evaluate("one => parseFloat(getComputedStyle(one).fontSize)"))
            assert height / 50 < letters < height / 20, "large enough for the screen it is on"
            page.locator("#consent summary").click()
            expect(page.locator("#consent")).to_contain_text("A machine answers you")
            expect(page.locator("#prompt")).to_be_in_viewport(ratio=1)
            page.locator("#consent summary").click()


def test_an_answer_is_heard_once(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Was ist eine Sprache?", answers=1)
    live = page.locator("[aria-live=polite]", has_text=KEPT_ANSWER)
    expect(live).to_have_count(1)
    expect(live).to_have_text(f"Die Maschine: {KEPT_ANSWER}")
    expect(page.get_by_role("listbox")).to_have_count(1)
