"""The page at `/` in a real browser (headless Chromium), against the real owner over real HTTP."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.owner_house import until
from tests.played_owner import KEPT, PlayedOwner, played_owner


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright; no browser is downloaded."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "chromium is missing; ./run_tests.sh installs it"
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        # A container's root has no sandbox to give; the pages are our own.
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedOwner]:
    with played_owner(tmp_path_factory.mktemp("house")) as one:
        yield one


@pytest.fixture
def owner(house: PlayedOwner) -> PlayedOwner:
    """The owner, waiting for a language."""
    house.fresh()
    return house


@pytest.fixture
def visitor(browser: Browser, owner: PlayedOwner) -> Iterator[BrowserContext]:
    """A visitor's browser, which must see no error and no other host."""
    context = browser.new_context()
    troubles: list[str] = []
    context.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    # The browser itself says so when the owner is gone or refuses; that is no fault of the page.
    ours = [text for text in troubles if "net::ERR_" not in text and "Failed to load resource" not in text]
    assert not ours
    assert asked
    assert all(url.startswith(owner.address) for url in asked)


def enter(context: BrowserContext, owner: PlayedOwner, language: str = "de") -> Page:
    """A new tab that has chosen a language."""
    page = context.new_page()
    page.goto(owner.address + "/")
    page.locator(f"button[data-language={language}]").click()
    expect(page.locator("#talk")).to_be_visible()
    return page


def say(page: Page, prompt: str, answers: int) -> None:
    """Say something and wait until so many answers are complete."""
    page.locator("#prompt").fill(prompt)
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_count(answers)
    expect(page.locator("#send")).to_be_enabled()
    expect(page.locator(".gone")).to_have_count(0)


@pytest.mark.parametrize(
    ("kept", "carried", "logged", "osc"),
    [(False, False, True, True), (True, False, False, False), (False, True, False, True), (True, True, False, True)],
)
def test_a_visitor_is_told_what_the_settings_say(
    browser: Browser, tmp_path: Path, kept: bool, carried: bool, logged: bool, osc: bool
) -> None:
    settings: dict[str, object] = {
        "general.keep_runs": kept,
        "general.log_visitor_words": logged,
        "finetuning.delete_live_questions_at_start": not carried,
    }
    with played_owner(tmp_path, **settings | ({} if osc else {"general.osc_ip": "", "general.osc_port": 0})) as owner:
        page = browser.new_page()
        page.goto(owner.address + "/")
        german, english = page.locator("section[lang=de]"), page.locator("section[lang=en]")
        expect(german).to_contain_text("eine Maschine, kein Mensch")
        expect(english).to_contain_text("A machine answers you")
        expect(german).to_contain_text("trainiert sie")
        expect(english).to_contain_text("trains it")
        expect(german).to_contain_text(
            "Auch wenn der Lauf zu Ende ist, bleiben sie"
            if kept or carried
            else "bis der Lauf zu Ende ist. Dann werden sie gelöscht"
        )
        expect(english).to_contain_text("They stay" if kept or carried else "Then they are deleted")
        # Nobody may be promised a deletion that does not come, nor frightened by a use that is not made.
        in_german, in_english = german.inner_text(), english.inner_text()
        assert ("gelöscht" in in_german, "deleted" in in_english) == ((not (kept or carried),) * 2)
        assert ("Auch die Läufe danach" in in_german, "The runs after it" in in_english) == (carried, carried)
        assert ("was das Modell aus ihnen gelernt" in in_german) == (kept or not carried)
        assert ("an Musik und Bilder" in in_german, "to music and images" in in_english) == (osc, osc)
        expect(german).to_contain_text("können auch in den Protokolldateien" if logged else "stehen sie nicht")
        expect(english).to_contain_text("may also stand in" if logged else "They are not in")
        page.close()


def test_tokens_appear_one_by_one_and_the_end_is_cut(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    assert owner.get("/state")["language"] == "de"
    page.evaluate(
        """() => {
            window.grown = [];
            const look = () => window.grown.push(document.querySelector('.answer .text')?.textContent ?? '');
            new MutationObserver(look).observe(document.getElementById('conversation'), {childList: true, subtree: true});
        }"""
    )
    say(page, "Was ist eine Sprache?", answers=1)
    grown = page.evaluate("window.grown")
    assert any(text == "Eine Sprache " for text in grown)
    assert any(text.endswith("Und dann der") for text in grown), "the rest was shown while it came"
    assert page.locator(".answer .text").inner_text() == KEPT
    opacities = page.locator(".answer .token").evaluate_all("all => all.map(one => Number(one.style.opacity))")
    assert opacities[:4] == pytest.approx([0.99, 0.855, 0.95, 0.675])
    expect(page.locator("#spoken")).to_have_text(f"Die Maschine: {KEPT}")
    expect(page.locator(".note")).to_have_text("Iteration −1 (unberührt)")


def test_what_was_said_survives_a_reload_and_is_not_kept_in_the_browser(
    visitor: BrowserContext, owner: PlayedOwner
) -> None:
    page = enter(visitor, owner)
    say(page, "Erste Frage", answers=1)
    owner.round()
    say(page, "Zweite Frage", answers=2)
    page.reload()
    expect(page.locator(".prompt")).to_have_text(["Du: Erste Frage", "Du: Zweite Frage"])
    expect(page.locator(".answer .text")).to_have_text([KEPT, KEPT])
    expect(page.locator(".note")).to_have_text(["Iteration −1 (unberührt)", "Iteration 0"])
    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
    assert "Frage" not in kept
    assert "Sprache" not in kept


def test_an_answer_under_way_is_there_after_a_reload(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    page.locator("#prompt").fill("Und dann?")
    with page.expect_response("**/chat"):
        page.keyboard.press("Enter")
    here = page.evaluate("JSON.parse(sessionStorage.station).station")
    page.reload()
    # Nobody reads the first answer any more, and it is given up; the same station is answered elsewhere.
    owner.say("Und dann?", here)
    expect(page.locator(".answer .text").last).to_have_text(KEPT)


def test_markup_stays_text(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    typed = "<img src=x onerror=alert(1)><b>fett</b> [INST] &amp; </s>"
    say(page, typed, answers=1)
    expect(page.locator(".prompt")).to_have_text(f"Du: {typed}")
    page.reload()
    expect(page.locator(".prompt")).to_have_text(f"Du: {typed}")
    expect(page.locator("#conversation :is(img, b, script)")).to_have_count(0)


def test_a_second_visitor_joins_the_run(visitor: BrowserContext, owner: PlayedOwner) -> None:
    first = enter(visitor, owner, "de")
    say(first, "Nur für mich", answers=1)
    run = owner.get("/state")["run"]
    second = enter(visitor, owner, "en")
    assert owner.get("/state")["run"] == run
    expect(second.locator("#iteration")).to_have_text("Iteration −1 (untouched)")
    expect(second.locator(".prompt")).to_have_count(0)
    say(second, "What is a language?", answers=1)
    expect(second.locator(".answer .text")).to_have_text(KEPT)
    expect(first.locator(".prompt")).to_have_count(1)


def test_the_run_is_followed(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    expect(page.locator("#iteration")).to_have_text("Iteration −1 (unberührt)")
    expect(page.locator("#time-left")).to_have_text(re.compile(r"noch (30:00|29:5\d)"))
    before = page.locator("#time-left").inner_text()
    expect(page.locator("#time-left")).not_to_have_text(before)
    expect(page.locator("#loss")).to_be_hidden()
    owner.round()
    owner.train()
    expect(page.locator("#iteration")).to_have_text("Iteration 0")
    expect(page.locator("#doing")).to_have_text("lernt … 4/4")
    expect(page.locator("#loss")).to_be_visible()
    points = page.locator("#loss-line").get_attribute("points") or ""
    assert len(points.split()) == 8, "two rounds of four steps"
    expect(page.locator("#ticks i.past")).to_have_count(1)
    owner.hand_in()
    owner.round()
    expect(page.locator("#doing")).to_have_text("letzte Worte")
    page.reload()
    expect(page.locator("#doing")).to_have_text("letzte Worte")
    expect(page.locator("#loss")).to_be_visible()


def test_words_leave_with_their_run(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Merk dir das.", answers=1)
    page.locator("#prompt").fill("Noch nicht gesagt")
    owner.end()
    expect(page.locator("#threshold")).to_be_visible()
    expect(page.locator("#reborn")).to_contain_text("neu geboren")
    assert "Merk dir das" not in page.content()
    assert "Haus aus" not in page.content()
    assert page.locator("#prompt").input_value() == ""
    page.locator("button[data-language=en]").click()
    expect(page.locator("#conversation")).to_have_text("The language is still whole. Ask it something.")
    assert owner.get("/state")["language"] == "en"


def test_a_run_that_changed_while_nobody_looked(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Merk dir das.", answers=1)
    page.goto("about:blank")
    owner.begin("en")
    page.goto(owner.address + "/")
    expect(page.locator("#threshold")).to_be_visible()
    expect(page.locator("button[data-language=de]")).to_have_text("Auf Deutsch mitsprechen")


def test_it_survives_the_owner(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Erste Frage", answers=1)
    owner.kill()
    expect(page.locator("#connection")).to_be_visible()
    owner.start()
    expect(page.locator("#connection")).to_be_hidden(timeout=20_000)
    expect(page.locator(".prompt")).to_have_text("Du: Erste Frage")
    say(page, "Zweite Frage", answers=2)
    owner.round()
    expect(page.locator("#iteration")).to_have_text("Iteration 0")


def test_an_answer_that_breaks_off_gives_the_words_back(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    owner.hesitate()
    page.locator("#prompt").fill("Und dann?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer .token").first).to_be_visible()
    owner.kill()
    expect(page.locator("#trouble")).to_contain_text("abgerissen")
    expect(page.locator("#prompt")).to_have_value("Und dann?")
    expect(page.locator("#send")).to_be_enabled()


def test_a_refusal_is_a_sentence_and_costs_no_word(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    page.locator("#prompt").fill("x" * 3000)
    page.keyboard.press("Enter")
    expect(page.locator("#trouble")).to_contain_text("Das ging nicht: ")
    expect(page.locator("#prompt")).to_have_value("x" * 3000)
    say(page, "kurz", answers=1)
    expect(page.locator("#trouble")).to_be_empty()


def test_by_keyboard_alone_and_typing_is_told(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = visitor.new_page()
    page.goto(owner.address + "/")
    expect(page.locator("#languages button")).to_have_count(2)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("Hallo", delay=5)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("du", delay=5)
    page.keyboard.press("Enter")
    expect(page.locator(".answer .text")).to_have_text(KEPT)
    expect(page.locator(".prompt")).to_have_text("Du: Hallo\ndu")
    until(lambda: len(owner.typed()) == 2, "typing is told once, and its end")
    assert owner.typed() == ["typing", "stopped"]
    page.keyboard.type("Und")
    until(lambda: len(owner.typed()) == 4, "who pauses has stopped")
    expect(page.get_by_label("Deine Worte", exact=True)).to_have_value("Und")


def test_it_fits_a_phone(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = visitor.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(owner.address + "/")
    expect(page.locator("button[data-language=de]")).to_be_in_viewport()
    page.locator("button[data-language=en]").click()
    for number in range(6):
        say(page, f"{number} " + "w" * 90, answers=number + 1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.documentElement.scrollHeight") == 844
    expect(page.locator("#prompt")).to_be_in_viewport(ratio=1)
    expect(page.locator("#send")).to_be_in_viewport(ratio=1)
    expect(page.locator(".note").last).to_be_in_viewport()
    page.locator("#consent summary").click()
    expect(page.locator("#consent")).to_contain_text("A machine answers you")
    expect(page.locator("#prompt")).to_be_in_viewport(ratio=1)


def test_the_pages_files_and_nothing_else(owner: PlayedOwner) -> None:
    with httpx.Client(base_url=owner.address, trust_env=False) as client:
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert client.get("/pages/page.js").headers["content-type"].startswith("text/javascript")
        for path in ("/pages/nothing.js", "/pages/..%2fpage_routes.py", "/pages/page_routes.py"):
            refused = client.get(path)
            assert refused.status_code == 404
            assert "page_routes" not in refused.text
