"""The page at `/` in a real browser (headless Chromium), against the real owner over real HTTP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.frontend.visiting import begin, enter, say, watched
from tests.owner.owner_cluster import OwnerCluster
from tests.owner.played_owner import KEPT_ANSWER, PAUSE, WORDS, PlayedOwner
from tests.waiting import until

pytestmark = pytest.mark.process

ALTERNATIVES = [["Kein ", 0.6], ["Das ", 0.125], ["", 0.0625], ["Die ", 0.05], ["Der ", 0.04]]


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """Pages that never forget an absent visitor."""
    return {"general.idle_seconds": 0.0}


@pytest.fixture
def owner(owner: PlayedOwner) -> PlayedOwner:
    """The module's owner, waiting for a language; answers come at once, and every token has other likely ones beside it."""
    owner.answer_at_once()
    owner.cluster.behave(alternatives=ALTERNATIVES)
    return owner


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
    without_osc = {"general.osc_ip": "", "general.osc_port": 0}
    consent: dict[str, str] = {}
    cluster = OwnerCluster(tmp_path, **settings | ({} if osc else without_osc))
    try:
        cluster.start_owner()
        page = browser.new_page(reduced_motion="reduce")
        page.goto(f"http://127.0.0.1:{cluster.settings.general.owner_port}/")
        for language in ("de", "en"):
            page.locator(f"button[data-language={language}]").click()
            expect(page.locator("#begin")).to_be_focused()
            consent[language] = page.locator("#consent-first .told").inner_text()
            page.locator("#back").click()
        page.close()
        assert cluster.state()["phase"] == "waiting", "nothing begins before one has read"
    finally:
        cluster.stop()
    german, english = consent["de"], consent["en"]
    assert "eine Maschine, kein Mensch" in german
    assert "A machine answers you" in english
    assert "trainiert sie" in german
    assert "trains it" in english
    stays = kept or carried
    assert ("Auch wenn der Lauf zu Ende ist, bleiben sie" in german, "They stay" in english) == (stays, stays)
    # Nobody may be promised a deletion that does not come, nor frightened by a use that is not made.
    assert ("Dann werden sie gelöscht" in german, "Then they are deleted" in english) == (not stays, not stays)
    assert ("Auch die Läufe danach" in german, "The runs after it" in english) == (carried, carried)
    assert ("was das Modell aus ihnen gelernt" in german) == (kept or not carried)
    assert ("Im Bericht über den Lauf" in german, "The report of the run" in english) == (kept, kept)
    assert ("an Musik und Bilder" in german, "to music and images" in english) == (osc, osc)
    assert ("können auch in den Protokolldateien" in german, "may also stand in" in english) == (logged, logged)
    assert ("stehen sie nicht" in german, "They are not in" in english) == (not logged, not logged)


def test_tokens_appear_one_by_one_and_the_end_is_cut(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.cluster.behave(words=WORDS, pause=PAUSE)
    page = enter(visitor, owner)
    assert owner.get("/state")["language"] == "de"
    page.evaluate(
        """() => {
            window.grown = [];
            const look = () => window.grown.push(document.querySelector('.answer')?.textContent ?? '');
            new MutationObserver(look).observe(
                document.getElementById('conversation'), {childList: true, subtree: true, characterData: true});
        }"""
    )
    say(page, "Was ist eine Sprache?", answers=1)
    grown = page.evaluate("window.grown")
    assert any(text.strip() == "Eine Sprache" for text in grown)
    assert any(text.endswith("Und dann der") for text in grown), "the rest was shown while it came"
    expect(page.locator(".answer")).to_have_text(KEPT_ANSWER)
    expect(page.locator("#spoken")).to_have_text(f"Die Maschine: {KEPT_ANSWER}")
    expect(page.locator(".note")).to_have_text("Iteration −1 (unberührt)")


def look_of(page: Page, answer: int) -> list[dict[str, float]]:
    """How each token of an answer is drawn, as the browser computes it."""
    looks: list[dict[str, float]] = (
        page.locator(".answer")
        .nth(answer)
        .locator(".token")
        .evaluate_all(
            """all => all.map(one => {
            const style = getComputedStyle(one);
            const size = parseFloat(style.fontSize);
            const {a, b, e, f} = new DOMMatrix(style.transform);
            return {
                weight: Number(style.fontWeight), opacity: Number(style.opacity),
                gap: parseFloat(style.letterSpacing) / size, drift: Math.hypot(e, f) / size, turn: Math.abs(Math.atan2(b, a)),
            };
        })"""
        )
    )
    return looks


def test_tokens_are_drawn_by_sureness_more_as_iterations_pass(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Jetzt?", answers=1)
    owner.play_round()
    owner.play_round()
    owner.play_round()
    say(page, "Und jetzt?", answers=2)
    first, last = look_of(page, 0), look_of(page, 1)
    # 0.98, 0.71, 0.9, 0.35, 0.12: the first token is the surest, the fifth the least sure.
    for looks in (first, last):
        assert looks[0]["weight"] > looks[1]["weight"] > looks[3]["weight"] > looks[4]["weight"]
        assert looks[0]["opacity"] > looks[1]["opacity"] > looks[3]["opacity"] > looks[4]["opacity"] >= 0.6
        assert looks[0]["gap"] < looks[3]["gap"] < looks[4]["gap"]
        assert looks[0]["drift"] < max(looks[3]["drift"], looks[4]["drift"])
    spread = [looks[0]["weight"] - looks[4]["weight"] for looks in (first, last)]
    assert spread[0] < 100 < 300 < spread[1], "subtle at first"
    assert all(after["drift"] >= before["drift"] for before, after in zip(first, last, strict=True))
    assert max(look["turn"] for look in last) > 3 * max(look["turn"] for look in first)
    assert first[4]["opacity"] > 0.9
    colour = "getComputedStyle(document.getElementById('ground')).getPropertyValue('--decay')"
    until(lambda: float(page.evaluate(colour)) == 1.0, "life to have sunk to nothing, which takes 20 s")


def test_a_tap_on_a_word_shows_what_was_nearly_said(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Was ist eine Sprache?", answers=1)
    box = page.locator("#alternatives")
    expect(box).to_be_hidden()
    page.locator(".token", has_text="Sprache").click()
    expect(box).to_be_visible()
    expect(box).to_be_focused()
    expect(page.locator("#alternatives-said")).to_contain_text("Sprache")
    expect(page.locator("#alternatives-said")).to_contain_text("71 %")
    expect(box.locator("li .what")).to_have_text(["Kein", "Das", "Ende der Antwort", "Die", "Der"])
    expect(box.locator("li .how")).to_have_text(["60 %", "13 %", "6.3 %", "5.0 %", "4.0 %"])
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(page.locator(".answer")).to_be_focused()
    # The second half of a word is shown as what it would have made of the word.
    page.locator(".token", has_text="ern").last.click()
    expect(box.locator("li .what").first).to_have_text("WörtKein")
    page.locator("#prompt").click()
    expect(box).to_be_hidden()


def test_what_was_said_survives_a_reload_and_is_not_kept_in_the_browser(
    visitor: BrowserContext, owner: PlayedOwner
) -> None:
    owner.cluster.behave(words=WORDS)
    page = enter(visitor, owner)
    say(page, "Erste Frage", answers=1)
    owner.play_round()
    say(page, "Zweite Frage", answers=2)
    page.reload()
    expect(page.locator(".prompt")).to_have_text(["Du: Erste Frage", "Du: Zweite Frage"])
    expect(page.locator(".answer")).to_have_text([KEPT_ANSWER, KEPT_ANSWER])
    expect(page.locator(".note")).to_have_text(["Iteration −1 (unberührt)", "Iteration 0"])
    # Drawn as before: every word as sure as it was, and what else was nearly said is still told.
    page.locator(".token", has_text="Sprache").first.click()
    expect(page.locator("#alternatives-said")).to_contain_text("71 %")
    expect(page.locator("#alternatives li .what").first).to_have_text("Kein")
    page.keyboard.press("Escape")
    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
    assert "Frage" not in kept
    assert "Sprache" not in kept


def test_a_reload_in_mid_answer(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Erste Frage", answers=1)
    owner.hesitate()
    page.locator("#prompt").fill("Und dann?")
    page.keyboard.press("Enter")
    expect(page.locator(".exchange").last.locator(".token").first).to_be_visible()
    station = page.evaluate("JSON.parse(sessionStorage.station).station")
    page.reload()
    expect(page.locator(".prompt")).to_have_text(["Du: Erste Frage"])
    expect(page.locator("#send")).to_be_enabled()
    owner.cluster.behave(pause=0.0)
    # Nobody reads the broken answer any more, and it is given up; what the station is answered elsewhere arrives.
    owner.say("Und dann?", station)
    expect(page.locator(".prompt")).to_have_text(["Du: Erste Frage", "Du: Und dann?"])
    say(page, "Weiter", answers=3)


def test_whatever_is_written_stays_text(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    written = (
        "<img src=x onerror=alert(1)><b>fett</b> [INST] &amp; </s>",
        "<script>alert(1)</script> {@html 1} ${1}",
        "שלום עולם \u202eUmgekehrt\u202c مرحبا",
        "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 e\u0301\u0302\u0303",
    )
    for number, typed in enumerate(written, 1):
        owner.cluster.behave(words=[typed[:7], typed[7:], "."])
        say(page, typed, answers=number)
    for _ in range(2):
        expect(page.locator(".prompt")).to_have_text([f"Du: {typed}" for typed in written])
        expect(page.locator(".answer")).to_have_text([f"{typed}." for typed in written])
        expect(page.locator("#conversation :is(img, b, script)")).to_have_count(0)
        page.reload()


def test_ten_thousand_characters_are_shown_and_lead_nowhere(
    visitor: BrowserContext, owner: PlayedOwner, failing_loads: set[str]
) -> None:
    failing_loads.add("status of 400")
    page = enter(visitor, owner)
    long = "Wort" * 450
    owner.cluster.behave(words=["x" * 2000] * 5)
    say(page, long, answers=1)
    expect(page.locator(".prompt")).to_have_text(f"Du: {long}")
    assert len(page.locator(".answer").inner_text()) == 10_000
    assert page.evaluate("document.getElementById('conversation').scrollWidth <= innerWidth")
    page.locator("#prompt").fill("y" * 10_000)
    page.keyboard.press("Enter")
    expect(page.locator("#trouble")).to_contain_text("Das ging nicht: ")
    expect(page.locator("#prompt")).to_have_value("y" * 10_000)
    expect(page.locator("#send")).to_be_in_viewport(ratio=1)


def test_two_stations_in_two_languages_share_a_run(
    browser: Browser, visitor: BrowserContext, owner: PlayedOwner
) -> None:
    first = enter(visitor, owner, "de")
    say(first, "Nur für mich", answers=1)
    run = owner.get("/state")["run"]
    with watched(browser, owner.address) as other:
        second = other.new_page()
        second.goto(owner.address + "/")
        expect(second.locator("button[data-language=en]")).to_have_text("Join in English")
        begin(second, "en")
        assert owner.get("/state")["run"] == run
        expect(second.locator("#iteration")).to_have_text("Iteration −1 (untouched)")
        expect(second.locator(".prompt")).to_have_count(0)
        say(second, "What is a language?", answers=1)
        expect(second.locator(".answer")).to_have_text(KEPT_ANSWER)
        expect(second.locator("html")).to_have_attribute("lang", "en")
    expect(first.locator("html")).to_have_attribute("lang", "de")
    expect(first.locator(".prompt")).to_have_count(1)
    system_prompts = {
        request["station"]: request["messages"][0]["content"]
        for request in owner.cluster.stand_in_state()["requests"]
        if request["station"]
    }
    assert len(set(system_prompts.values())) == 2, "each is answered in its own language"


def test_the_run_is_followed(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    expect(page.locator("#iteration")).to_have_text("Iteration −1 (unberührt)")
    expect(page.locator("#time-left")).to_have_text(re.compile(r"noch (30:00|29:\d\d)"))
    before = page.locator("#time-left").inner_text()
    expect(page.locator("#time-left")).not_to_have_text(before)
    line = page.locator(".life path").get_attribute("d")
    owner.play_round()
    owner.train()
    expect(page.locator("#iteration")).to_have_text("Iteration 0")
    expect(page.locator("#doing")).to_have_text("lernt … 4/4")
    expect(page.locator("#ground")).to_have_attribute("data-learning", "true")
    expect(page.locator("[data-round=past]")).to_have_count(1)
    expect(page.locator(".life path")).not_to_have_attribute("d", line or "")
    owner.hand_in()
    owner.play_round()
    expect(page.locator("#doing")).to_have_text("letzte Worte")
    expect(page.locator("#ground")).to_have_attribute("data-last", "true")
    page.reload()
    expect(page.locator("#doing")).to_have_text("letzte Worte")


def test_words_leave_with_their_run(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Merk dir das.", answers=1)
    page.locator("#prompt").fill("Noch nicht gesagt")
    owner.end()
    expect(page.locator("#threshold")).to_be_visible()
    expect(page.locator("#reborn")).to_contain_text("neu geboren")
    expect(page.locator("#ground")).to_have_attribute("data-reborn", "true")
    assert "Merk dir das" not in page.content()
    assert "Haus aus" not in page.content()
    begin(page, "en")
    assert page.locator("#prompt").input_value() == ""
    expect(page.locator("#conversation")).to_contain_text("The language is still whole. Ask it something.")
    assert owner.get("/state")["language"] == "en"


def test_a_run_that_changed_while_nobody_looked(visitor: BrowserContext, owner: PlayedOwner) -> None:
    page = enter(visitor, owner)
    say(page, "Merk dir das.", answers=1)
    page.goto("about:blank")
    owner.begin("en")
    page.goto(owner.address + "/")
    expect(page.locator("#threshold")).to_be_visible()
    expect(page.locator("button[data-language=de]")).to_have_text("Auf Deutsch mitsprechen")


def test_the_pages_files_and_nothing_else(owner: PlayedOwner) -> None:
    with httpx.Client(verify=False, base_url=owner.address, trust_env=False) as client:
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        (script,) = re.findall(r'src="\./(assets/index-[\w-]+\.js)"', page.text)
        assert client.get(f"/{script}").headers["content-type"].startswith("text/javascript")
        long = f"/assets/{'a' * 300}.js"  # than a file's name can be
        traversals = ("/assets/..%2findex.html", "/assets/..%2f..%2fpackage.json")
        for path in ("/assets/nothing.js", *traversals, "/built.json", long):
            refused = client.get(path)
            assert refused.status_code == 404
            assert "wmkml-frontend" not in refused.text
