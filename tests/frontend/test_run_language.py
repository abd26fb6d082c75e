"""The page at `/` while a run speaks another language than the visitor: it says so, and lets the visitor join it or wait."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.frontend.visiting import (
    OWNER_AWAY,
    PATIENCE_MS,
    begin,
    enter,
    pass_time,
    say,
    stop_clock,
    violations,
    watched,
)
from tests.owner.played_owner import KEPT_ANSWER, PlayedOwner
from tests.waiting import until

pytestmark = pytest.mark.process

IDLE_SECONDS = 900.0
"""Longer than any test takes; where a visitor is to be forgotten, the page's clock is put forward."""

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
KIOSK: dict[str, Any] = {"viewport": {"width": 1080, "height": 1920}, "has_touch": True}


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """Pages that forget a visitor who is absent for `IDLE_SECONDS`."""
    return {"general.idle_seconds": IDLE_SECONDS}


@pytest.fixture
def owner(owner: PlayedOwner) -> PlayedOwner:
    """The module's owner, waiting for a language; its answers come at once."""
    owner.answer_at_once()
    return owner


def choose(context: BrowserContext, owner: PlayedOwner, language: str) -> Page:
    """Open a tab and choose a language, but do not begin."""
    page = context.new_page()
    page.goto(owner.address + "/")
    page.locator(f"button[data-language={language}]").click()
    expect(page.locator("#begin")).to_be_focused()
    return page


def wait(context: BrowserContext, owner: PlayedOwner, language: str) -> Page:
    """Open a tab, choose a language that the run under way does not speak, and wait."""
    page = choose(context, owner, language)
    page.locator("#wait").click()
    expect(page.locator("#waiting")).to_be_visible()
    return page


def language_of(owner: PlayedOwner) -> str | None:
    language: str | None = owner.get("/state")["language"]
    return language


def system_prompts(owner: PlayedOwner) -> list[str]:
    """The system prompts of the visitors' requests that inference got."""
    requests = owner.cluster.stand_in_state()["requests"]
    return [request["messages"][0]["content"] for request in requests if request["audience"] == "visitor"]


def test_the_threshold_says_which_language_the_run_speaks(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = visitor.new_page()
    page.goto(owner.address + "/")
    expect(page.locator("#languages button")).to_have_count(2)
    expect(page.locator(".speaks")).to_have_count(0)
    owner.begin("en")
    expect(page.locator("#languages section:lang(de)")).to_contain_text("Der Lauf im Gang spricht Englisch.")
    expect(page.locator("#languages section:lang(en) .speaks")).to_have_count(0)
    assert violations(page) == []
    page.locator("button[data-language=en]").click()
    expect(page.locator(".alive")).to_be_visible()
    expect(page.locator("#other-language")).to_have_count(0)
    expect(page.locator("#wait")).to_have_count(0)
    page.keyboard.press("Escape")
    page.locator("button[data-language=de]").click()
    notice = page.locator("#other-language")
    expect(notice).to_contain_text("Dieser Lauf spricht Englisch")
    expect(notice).to_contain_text("wird gebeten, dir auf Deutsch zu antworten")
    expect(notice).to_contain_text("In diesem Lauf lernt sie aber vor allem Englisch")
    expect(notice).to_contain_text(re.compile(r"endet in höchstens (2\d|30):\d\d\."))
    expect(page.locator(".alive")).to_have_count(0)
    assert violations(page) == []
    owner.begin("de")
    expect(notice).to_have_count(0)
    expect(page.locator("#begin")).to_have_text("Mitsprechen")


def test_who_joins_all_the_same_is_answered_as_the_page_says(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("de")
    run = owner.get("/state")["run"]
    before = len(system_prompts(owner))
    page = choose(visitor, owner, "en")
    expect(page.locator("#other-language")).to_contain_text("This run speaks German")
    page.locator("#begin", has_text="Join all the same").click()
    say(page, "What is a language?", answers=1)
    expect(page.locator(".answer")).to_have_text(KEPT_ANSWER)
    assert owner.get("/state")["run"] == run
    assert system_prompts(owner)[before:] == [owner.cluster.settings.inference.system_prompts["en"]], (
        "the machine is asked to answer in English"
    )


def test_who_waits_is_let_in_when_a_language_is_awaited(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("en")
    page = wait(visitor, owner, "de")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator("#waiting h1")).to_be_focused()
    expect(page.locator("#waiting")).to_contain_text("Noch spricht der Lauf Englisch.")
    left = page.locator("#wait-left")
    expect(left).to_have_text(re.compile(r"(2\d|30):\d\d"))
    before = left.inner_text()
    expect(left).not_to_have_text(before)
    assert violations(page) == []
    page.reload()
    expect(page.locator("#waiting")).to_be_visible()
    assert language_of(owner) == "en"
    assert owner.cluster.end().status_code == 200
    expect(page.locator("#talk")).to_be_visible()
    assert language_of(owner) == "de"
    expect(page.locator("#prompt")).to_be_focused()
    say(page, "Was ist eine Sprache?", answers=1)
    assert json.loads(page.evaluate("sessionStorage.station"))["awaits"] is None
    # And once in it, it is a visit like every other: nothing begins by itself when this run is over.
    owner.end()
    expect(page.locator("#reborn")).to_contain_text("neu geboren")
    assert language_of(owner) is None


def test_by_keyboard_alone(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("en")
    page = choose(visitor, owner, "de")
    page.keyboard.press("Tab")
    expect(page.locator("#wait")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#waiting h1")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#languages")).to_be_visible()
    page.locator("button[data-language=de]").press("Enter")
    page.locator("#wait").press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#waiting #begin")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#waiting #back")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#talk")).to_be_visible()
    assert language_of(owner) == "en", "joined all the same"


def test_who_is_not_the_quickest_waits_on(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("en")
    page = wait(visitor, owner, "de")
    owner.begin("en")  # another one, without a pause
    expect(page.locator("#waiting")).to_be_visible()
    assert language_of(owner) == "en"
    owner.begin("de")  # by somebody else
    run = owner.get("/state")["run"]
    expect(page.locator("#talk")).to_be_visible()
    assert owner.get("/state")["run"] == run, "joined, not begun again"


def test_many_who_wait_begin_one_run(browser: Browser, visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("en")
    first = wait(visitor, owner, "de")
    with watched(browser, owner.address) as other:
        second = wait(other, owner, "de")
        assert owner.cluster.end().status_code == 200
        for page in (first, second):
            expect(page.locator("#talk")).to_be_visible()
        run = owner.get("/state")["run"]
        held = {json.loads(page.evaluate("sessionStorage.station"))["run"] for page in (first, second)}
        assert held == {run}


def test_who_waits_survives_the_owner(visitor: BrowserContext, owner: PlayedOwner, failing_loads: set[str]) -> None:
    failing_loads.add(OWNER_AWAY)
    owner.begin("en")
    page = wait(visitor, owner, "de")
    owner.kill()
    expect(page.locator("#connection")).not_to_be_empty()
    owner.start()
    expect(page.locator("#connection")).to_be_empty(timeout=PATIENCE_MS)
    expect(page.locator("#waiting")).to_be_visible()
    assert owner.cluster.end().status_code == 200
    expect(page.locator("#talk")).to_be_visible()


def test_a_run_that_somebody_began_meanwhile_is_not_joined_unasked(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = choose(visitor, owner, "de")

    # The page does not hear of the run before it begins one itself.
    def begin_before(route: Route) -> None:
        owner.begin("en")
        route.continue_()

    page.route("**/language", begin_before)
    page.locator("#begin").click()
    expect(page.locator("#other-language")).to_be_focused()
    expect(page.locator("#other-language")).to_contain_text("Dieser Lauf spricht Englisch")
    expect(page.locator("#begin")).to_have_text("Trotzdem mitsprechen")
    page.locator("#begin").click()
    expect(page.locator("#talk")).to_be_visible()


def test_who_leaves_a_kiosk_while_waiting_is_forgotten(browser: Browser, owner: PlayedOwner) -> None:
    owner.begin("en")
    with watched(browser, owner.address, **KIOSK) as visitor:
        visitor.clock.install()
        page = wait(visitor, owner, "de")
        stop_clock(page)
        page.mouse.move(100, 100)
        pass_time(page, IDLE_SECONDS - 5)
        expect(page.locator("#still")).to_be_visible()
        expect(page.locator("#waiting")).to_be_visible()
        pass_time(page, 5)
        expect(page.locator("#languages")).to_be_visible()
        assert owner.cluster.end().status_code == 200
        expect(page.locator("#languages")).to_contain_text("Auf Deutsch sprechen")
        assert language_of(owner) is None, "no run begins for nobody"


def test_a_phone_may_wait_in_a_pocket(browser: Browser, owner: PlayedOwner) -> None:
    owner.begin("en")
    with watched(browser, owner.address, **PHONE) as visitor:
        visitor.clock.install()
        page = wait(visitor, owner, "de")
        stop_clock(page)
        page.mouse.move(100, 100)
        pass_time(page, 1.5 * IDLE_SECONDS)
        expect(page.locator("#still")).to_be_hidden()
        expect(page.locator("#waiting")).to_be_visible()
        assert owner.cluster.end().status_code == 200
        expect(page.locator("#talk")).to_be_visible()


@pytest.mark.parametrize(
    "options", [PHONE, KIOSK, {"viewport": {"width": 3840, "height": 2160}}], ids=["phone", "kiosk", "wall"]
)
def test_it_fits_the_screen(browser: Browser, owner: PlayedOwner, options: dict[str, Any]) -> None:
    owner.begin("en")
    with watched(browser, owner.address, **options) as visitor:
        page = visitor.new_page()
        page.goto(owner.address + "/")
        expect(page.locator(".speaks")).to_be_in_viewport(ratio=1)
        sizes = page.locator("#languages button").evaluate_all("all => all.map(button => button.offsetHeight)")
        assert len(set(sizes)) == 1, "what is said of one language leaves the other's button as it is"
        page.locator("button[data-language=de]").click()
        expect(page.locator("#other-language")).to_be_visible()
        for part in ("#other-language", "#begin", "#wait"):
            expect(page.locator(part)).to_be_in_viewport(ratio=1)
        page.locator("#wait").click()
        for part in ("#wait-left", "#begin", "#back"):
            expect(page.locator(f"#waiting {part}")).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("(one => one.scrollHeight <= one.clientHeight)(document.getElementById('waiting'))")
    until(lambda: language_of(owner) == "en", "the run to be there still")


def test_in_the_same_language_nothing_is_said(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("de")
    page = visitor.new_page()
    page.goto(owner.address + "/")
    begin(page, "de")
    other = enter(visitor, owner, "de")
    expect(other.locator("#prompt")).to_be_focused()
