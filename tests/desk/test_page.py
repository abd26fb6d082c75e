"""The desk at `/desk` in a real browser (headless Chromium), against the real owner over real HTTP."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.frontend.visiting import OWNER_AWAY, chromium, stop_clock, violations, watched
from tests.owner.played_owner import KEPT_ANSWER, PlayedOwner, played_owner
from tests.waiting import until
from wmkml.access.pin import load_pin
from wmkml.config.paths import PAGES
from wmkml.measures.registry import measured_once

pytestmark = pytest.mark.process

NASTY = "<img src=x onerror=alert(1)> <script>alert(2)</script> \u202eRTL 🜁"
REFUSED = "status of 401"
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        expect.set_options(timeout=90_000)
        yield browser


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """A lease so long that no round is lost while a slow machine starts a browser."""
    return {"finetuning.lease_seconds": 900.0}


@pytest.fixture
def requested() -> list[str]:
    """Every address that the browser asked for."""
    return []


@pytest.fixture
def failing_loads() -> set[str]:
    """What the loads that must fail are known by."""
    return set()


@pytest.fixture
def operator(
    browser: Browser, owner: PlayedOwner, requested: list[str], failing_loads: set[str]
) -> Iterator[BrowserContext]:
    """The operator's browser, which must see no error and no other host."""
    with watched(browser, owner.address, failing_loads, locale="de-DE") as context:
        context.on("request", lambda request: requested.append(request.url))
        yield context


def opened(context: BrowserContext, owner: PlayedOwner) -> Page:
    """The desk, with the PIN entered."""
    page = context.new_page()
    page.goto(owner.address + "/desk")
    page.get_by_label("PIN").fill(load_pin(owner.cluster.paths))
    page.keyboard.press("Enter")
    expect(page.locator("[data-phase]")).to_be_visible()
    return page


def confirm(page: Page, button: str, yes: str) -> None:
    page.locator(f"[data-do={button}]").click()
    page.get_by_role("dialog").get_by_role("button", name=yes).click()


def light(page: Page, name: str, shows: str) -> None:
    expect(page.locator(f"[data-light={name}][data-shows={shows}]")).to_be_visible()


def test_the_pin_opens_the_desk_by_keyboard_alone(
    operator: BrowserContext, owner: PlayedOwner, failing_loads: set[str]
) -> None:
    failing_loads.add(REFUSED)  # the wrong PIN
    page = operator.new_page()
    page.goto(owner.address + "/desk")
    expect(page.get_by_label("PIN")).to_be_focused()
    assert violations(page) == []
    page.keyboard.type("000000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Das ist nicht die PIN.")
    expect(page.get_by_label("PIN")).to_be_focused()
    expect(page.get_by_label("PIN")).to_have_value("")
    page.keyboard.type(load_pin(owner.cluster.paths))
    page.keyboard.press("Enter")
    expect(page.locator("[data-phase=waiting]")).to_be_visible()
    page.reload()
    expect(page.locator("[data-phase=waiting]")).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Abmelden").click()
    expect(page.get_by_label("PIN")).to_be_visible()


def test_without_javascript_the_form_still_opens_it(browser: Browser, owner: PlayedOwner) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(owner.address + "/desk")
    page.locator("input[name=pin]").fill(load_pin(owner.cluster.paths))
    page.locator("noscript button, form button").first.click()
    page.wait_for_url(owner.address + "/desk")
    cookies = context.cookies(owner.address + "/desk")
    assert sorted(cookie["name"] for cookie in cookies) == ["desk", "desk_known"]
    for cookie in cookies:
        assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == ("/desk", True, "Strict")
    assert context.cookies(owner.address + "/") == []
    context.close()


def test_the_desk_says_whether_the_language_uses_what_a_round_has_learned(
    operator: BrowserContext, owner: PlayedOwner
) -> None:
    owner.begin("de")
    page = opened(operator, owner)
    expect(page.locator("[data-round]")).to_be_visible()
    expect(page.locator("#proof")).to_have_count(0)
    numbers = {"compared": "values", "distance": 0.03, "to_previous": 0.2, "to_base": 0.5, "moved": 0.2, "noise": 0.03}
    unread = dict.fromkeys(("distance", "to_previous", "to_base", "noise"))
    for verdict, known, sentence in (
        ("proved", numbers, "Geprüft: die Sprache benutzt, was Runde 0 gelernt hat."),
        ("unproved", numbers, "Runde 1 hat zu wenig verändert, um zu prüfen, ob sie benutzt wird."),
        (
            "unproved",
            numbers | unread,
            "Ob Runde 2 benutzt wird, lässt sich nicht prüfen: das Modell läuft anderswo und sagt es nicht.",
        ),
    ):
        owner.cluster.behave(proof={"verdict": verdict, **known})
        owner.play_round()
        expect(page.locator(f"#proof[data-verdict={verdict}]")).to_have_text(sentence)


def test_a_healthy_run_is_understood_at_a_glance(operator: BrowserContext, owner: PlayedOwner) -> None:
    page = opened(operator, owner)
    page.get_by_role("button", name="Auf Deutsch beginnen").click()
    owner.cluster.until_phase("running")
    owner.say("Hallo", "s1")
    owner.play_round()
    owner.say("Und jetzt?", "s1")
    owner.train()
    light(page, "owner", "good")
    light(page, "inference", "good")
    light(page, "worker", "good")
    light(page, "stage", "off")
    expect(page.get_by_role("banner").get_by_role("status")).to_have_text("Alles in Ordnung.")
    expect(page.locator("[data-phase]")).to_have_text("Läuft")
    expect(page.locator("[data-round=training]")).to_contain_text("Schritt 4 von 4")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(page.locator("[data-round] li.accepted")).to_have_count(1)
    expect(page.get_by_role("img", name=re.compile("Verlust.*8 Werte"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Vielfalt: 2 Werte"))).to_be_visible()
    for group in ("model", "panel"):
        page.locator(f"[data-group={group}] summary").click()
    for measure in measured_once():
        if "desk" in measure.windows:
            title = measure.words("de").title
            expect(page.get_by_role("img", name=re.compile(f"^{title}: 2 Werte"))).to_be_visible()
    expect(page.get_by_text("Keine Grafikkarte" if not shutil.which("nvidia-smi") else "Grafikkarte")).to_be_visible()
    assert violations(page) == []
    # In English, also after a reload.
    page.get_by_role("button", name="English", exact=True).click()
    expect(page.locator("[data-phase]")).to_have_text("Running")
    page.reload()
    expect(page.locator("[data-phase]")).to_have_text("Running")
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_it_fits_a_phone(operator: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("de")
    owner.train()
    page = opened(operator, owner)
    page.set_viewport_size(PHONE)
    light(page, "worker", "good")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter((one) => one.getBoundingClientRect().height < 40).length"
    )
    assert small == 0
    assert violations(page) == []


def test_the_buttons_of_the_run(operator: BrowserContext, owner: PlayedOwner) -> None:
    cluster = owner.cluster
    page = opened(operator, owner)
    page.get_by_role("button", name="Auf Englisch beginnen").click()
    cluster.until_phase("running")
    assert cluster.state()["language"] == "en"
    # Held: an adapter that is ready waits, until released.
    page.locator("[data-do=hold]").click()
    expect(page.get_by_role("banner")).to_contain_text("Festgehalten")
    assert cluster.train(cluster.claim())["accepted"]
    expect(page.locator("[data-round=held]")).to_contain_text("sobald Sie loslassen")
    assert cluster.state()["iteration"] == -1
    page.get_by_role("button", name="Loslassen").click()
    cluster.until_iteration(0)
    # Skipped, but only after a yes; Escape is a no.
    expect(page.locator("[data-round=open]")).to_contain_text("Runde 1 · 2. von")
    page.locator("[data-do=skip]").click()
    expect(page.get_by_role("button", name="Nein, nichts ändern")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert [round_["status"] for round_ in cluster.state()["rounds"]] == ["accepted", "open"]
    confirm(page, "skip", "Ja, Runde überspringen")
    expect(page.locator("[data-round=open]")).to_contain_text("Runde 2 · 3. von")
    expect(page.locator("[data-round] li.skipped")).to_have_count(1)
    confirm(page, "last_words", "Ja, letzte Worte beginnen")
    expect(page.locator("[data-phase=last_words]")).to_be_visible()
    expect(page.locator("[data-do=hold]")).to_be_disabled()
    # A run from nothing, then none.
    before = cluster.state()["run"]
    page.locator("[data-start=de]").click()
    expect(page.get_by_role("dialog")).to_contain_text("Was gesagt wurde, wird gelöscht.")
    page.get_by_role("button", name="Ja, neu beginnen").click()
    expect(page.locator("[data-phase=last_words]")).to_have_count(0)
    until(lambda: cluster.state()["run"] not in (before, None), "another run")
    confirm(page, "rebirth", "Ja, Lauf beenden")
    expect(page.locator("[data-phase=waiting]")).to_be_visible()


def test_the_dials_count_from_the_next_round_on(operator: BrowserContext, owner: PlayedOwner) -> None:
    cluster = owner.cluster
    owner.begin("de")
    job = cluster.claim()
    page = opened(operator, owner)
    rate = page.get_by_label("Lernrate", exact=True)
    rate.fill("5")
    page.get_by_role("button", name="Übernehmen").click()
    expect(page.get_by_role("alert")).to_contain_text("Bitte eine Zahl")
    expect(rate).to_be_focused()
    rate.fill("0,02")
    page.get_by_label("Temperatur der Echos +").click()
    page.get_by_role("button", name="Übernehmen").click()
    expect(page.get_by_text("Übernommen.")).to_be_visible()
    expect(page.get_by_text("geändert", exact=True)).to_have_count(2)
    expect(page.locator("[data-now=learning_rate]")).to_have_text("0,0015")
    assert cluster.train(job)["accepted"]
    assert cluster.claim()["learning_rate"] == pytest.approx(0.02)
    expect(page.locator("[data-now=learning_rate]")).to_have_text("0,02")
    expect(page.locator("[data-now=temperature]")).to_have_text("0,5")
    page.get_by_role("button", name="Alles wie eingestellt").click()
    expect(page.get_by_text("geändert", exact=True)).to_have_count(0)
    expect(rate).to_have_value("")


def test_the_stage_goes_dark_at_once_and_osc_is_tested(operator: BrowserContext, owner: PlayedOwner) -> None:
    page = opened(operator, owner)
    events = owner.cluster.events()
    assert next(events).event == "state"
    light(page, "stage", "good")
    page.get_by_role("button", name="Bühne dunkel").click()
    assert next(event for event in events if event.event == "stage").data == '{"blank":true}'
    expect(page.get_by_role("banner")).to_contain_text("Die Bühne ist dunkel.")
    light(page, "stage", "busy")
    page.get_by_role("button", name="Bühne zeigen").click()
    assert next(event for event in events if event.event == "stage").data == '{"blank":false}'
    page.get_by_role("button", name="Testnachricht senden").click()
    expect(page.get_by_text(re.compile(r"/test Nr\. \d+ gesendet\."))).to_be_visible()
    expect(page.get_by_role("rowheader", name="/test")).to_be_visible()


def test_words_stay_hidden_until_asked_for(operator: BrowserContext, owner: PlayedOwner, requested: list[str]) -> None:
    owner.begin("de")
    owner.say(NASTY, "s1")
    answered: list[str] = []
    operator.on("requestfinished", lambda request: answered.append(request.url))
    operator.clock.install()
    page = opened(operator, owner)
    expect(page.get_by_role("button", name="Zuletzt Gesagtes zeigen")).to_be_visible()
    assert KEPT_ANSWER not in page.content() and "onerror" not in page.content()
    assert not [url for url in requested if "words" in url]
    page.get_by_role("button", name="Zuletzt Gesagtes zeigen").click()
    shown = page.locator(".exchange").inner_text()
    assert "<script>alert(2)</script>" in shown and KEPT_ANSWER in shown
    assert page.locator(".exchange img").count() == 0
    page.get_by_role("button", name="Verbergen").click()
    expect(page.locator(".exchange")).to_have_count(0)
    # They also disappear when the run ends.
    page.get_by_role("button", name="Zuletzt Gesagtes zeigen").click()
    expect(page.locator(".exchange")).to_have_count(1)
    owner.end()
    expect(page.locator(".exchange")).to_have_count(0)
    # And by themselves, after some time.
    expect(page.locator("[data-phase=waiting]")).to_be_visible()
    owner.begin("de")
    owner.say("Noch da?", "s1")
    expect(page.locator("[data-phase=running]")).to_be_visible()  # else they would disappear with the run's beginning
    stop_clock(page)
    page.get_by_role("button", name="Zuletzt Gesagtes zeigen").click()
    expect(page.locator(".exchange")).to_have_count(1)
    for _ in range(3):  # the next states of the same run change nothing
        hear_state(page, owner, requested, answered)
    hide = page.locator("[data-do=hide_said]")
    expect(hide).to_be_visible()
    while (left := seconds_left(hide.inner_text())) > 1:
        page.clock.run_for(1000 * (left - 1))
    expect(page.locator(".exchange")).to_have_count(1)
    page.clock.run_for(1000)
    expect(page.locator(".exchange")).to_have_count(0)


def hear_state(page: Page, owner: PlayedOwner, requested: list[str], answered: list[str]) -> None:
    """Let a page whose clock is stopped ask for its next state, and wait for the answer.

    No time passes for the page while an answer is under way: it asks again a second after it.
    """
    state = f"{owner.address}/desk/state"

    def wait_for_answer() -> None:
        while answered.count(state) < requested.count(state):
            page.wait_for_timeout(20)

    wait_for_answer()
    asked = requested.count(state)
    while requested.count(state) == asked:
        page.clock.run_for(100)
    wait_for_answer()


def seconds_left(label: str) -> int:
    """After how many seconds the words disappear, as the button says that hides them."""
    [seconds] = re.findall(r"\d+", label)
    return int(seconds)


def test_the_owner_is_killed_and_comes_back(
    operator: BrowserContext, owner: PlayedOwner, failing_loads: set[str]
) -> None:
    failing_loads.update({OWNER_AWAY, REFUSED})  # sessions end with their owner
    owner.begin("de")
    page = opened(operator, owner)
    owner.kill()
    expect(page.get_by_role("heading", name="Die Installation antwortet nicht")).to_be_visible()
    expect(page.get_by_text("./master_script.sh start", exact=True)).to_be_visible()
    light(page, "owner", "trouble")
    light(page, "inference", "off")
    expect(page.locator("[data-do=rebirth]")).to_be_disabled()
    assert violations(page) == []
    owner.start()
    expect(page.get_by_text("Das Pult wurde geschlossen")).to_be_visible()
    expect(page.get_by_role("heading", name="Die Installation antwortet nicht")).to_have_count(0)
    page.get_by_label("PIN").fill(load_pin(owner.cluster.paths))
    page.get_by_role("button", name="Öffnen").click()
    expect(page.locator("[data-phase=running]")).to_be_visible()


def test_trouble_is_told_with_what_to_do(browser: Browser, tmp_path: Path) -> None:
    with (
        played_owner(tmp_path, **{"general.osc_ip": "no-such-host.invalid"}) as owner,
        watched(browser, owner.address, locale="en-GB") as context,
    ):
        page = opened(context, owner)
        expect(page.get_by_role("heading", name="What to do now")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("no-such-host.invalid")
        expect(page.get_by_role("alert")).to_contain_text("in the same network?")
        expect(page.get_by_role("banner")).to_contain_text("Please look: 1 problem.")
        assert page.title().startswith("▲")
        assert violations(page) == []


def loaded_by(page: str) -> str:
    """The text of a built page and of all scripts that it loads, directly or through other scripts."""
    texts = {page: (PAGES / page).read_text(encoding="utf-8")}
    while True:
        named = {name for text in texts.values() for name in re.findall(r"[\w.-]+\.js\b", text)} - set(texts)
        scripts = [name for name in named if (PAGES / "assets" / name).is_file()]
        if not scripts:
            return "".join(texts.values())
        texts |= {name: (PAGES / "assets" / name).read_text(encoding="utf-8") for name in scripts}


@pytest.mark.parametrize("page", ["index.html", "stage.html"])
def test_visitors_pages_carry_no_operator_route(page: str) -> None:
    assert "desk/state" in loaded_by("desk.html")
    text = loaded_by(page)
    assert not re.findall(r"desk/\w+|operator/\w+", text)


def test_other_machines_that_answer_are_shown_and_the_one_that_must_not_is_a_problem(
    operator: BrowserContext, owner: PlayedOwner
) -> None:
    nodes = [
        {"address": "10.0.0.7:8011", "state": "answers", "reason": "", "answers": 3},
        {"address": "10.0.0.8:8011", "state": "away", "reason": "nobody answers there", "answers": 0},
        {"address": "10.0.0.9:8011", "state": "refused", "reason": "its model is another one", "answers": 0},
    ]
    owner.cluster.behave(nodes=nodes)
    page = opened(operator, owner)
    expect(page.locator(".node[data-state=answers]")).to_contain_text("antwortet mit (3 Antworten unterwegs)")
    expect(page.locator(".node[data-state=away]")).to_contain_text("10.0.0.8:8011")
    expect(page.locator(".node[data-state=refused]")).to_contain_text("darf nicht antworten")
    expect(page.get_by_role("alert")).to_contain_text("10.0.0.9:8011: its model is another one")
    assert violations(page) == []
    assert owner.get("/state")["nodes"] == ["answers", "away", "refused"], "and no address"
    owner.cluster.behave(nodes=[])
    expect(page.locator(".node")).to_have_count(0)
    assert owner.get("/state")["nodes"] == []


def test_the_doctor_is_asked_on_a_click_and_answers_in_the_pages_language(
    operator: BrowserContext, owner: PlayedOwner
) -> None:
    keys = owner.cluster.paths.keys
    page = opened(operator, owner)
    panel = page.locator("section[aria-labelledby=doctor]")
    keys.chmod(0o644)
    try:
        panel.get_by_role("button", name="Jetzt nachsehen").click()
        expect(panel.locator("li[data-check=keys][data-mark=warning]")).to_contain_text("können auch andere lesen")
        expect(panel.get_by_text(f"chmod 600 {keys}")).to_be_visible()
        expect(panel.get_by_role("status")).to_contain_text("Nachgesehen um")
        # What is well is a click away, and the ports are this owner's own.
        expect(panel.locator("li[data-check=ports]")).to_be_hidden()
        panel.locator("summary").click()
        expect(panel.locator("li[data-check=ports][data-mark=good]")).to_contain_text("diese Installation läuft")
        assert violations(page) == []
        page.get_by_role("button", name="English", exact=True).click()
        expect(panel.locator("li[data-check=keys]")).to_contain_text("can be read by others too")
    finally:
        keys.chmod(0o600)
    panel.get_by_role("button", name="Look again").click()
    expect(panel.locator("li[data-check=keys]")).to_have_attribute("data-mark", "good")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_key_is_replaced_after_a_question_and_shown_until_it_is_hidden(
    operator: BrowserContext, owner: PlayedOwner
) -> None:
    page = opened(operator, owner)
    panel = page.locator("section[aria-labelledby=keys]")
    before = owner.cluster.keys
    panel.locator("[data-rotate=stage]").click()
    page.locator("dialog .no").click()
    assert owner.cluster.keys == before, "nothing without a yes"
    panel.locator("[data-rotate=stage]").click()
    expect(page.locator("dialog")).to_contain_text("Die Bühne bleibt leer")
    page.locator("dialog .yes").click()
    expect(panel.locator("[data-new-key=stage]")).to_be_visible()  # only then is the new key in the file
    expect(panel.locator("[data-new-key=stage]")).to_have_text(owner.cluster.keys.stage)
    assert owner.cluster.keys.stage != before.stage
    link = panel.get_by_role("link", name="Bühne mit dem neuen Schlüssel öffnen")
    expect(link).to_have_attribute("href", f"stage?key={owner.cluster.keys.stage}")
    assert violations(page) == []
    panel.get_by_role("button", name="Verbergen").click()
    expect(panel.locator("[data-new-key]")).to_have_count(0)
    expect(panel.locator("[data-rotate=node]")).to_have_count(0)
    panel.locator("[data-rotate=pin]").click()
    page.locator("dialog .yes").click()
    expect(panel.locator("[data-new-key=pin]")).to_be_visible()
    expect(panel.locator("[data-new-key=pin]")).to_have_text(load_pin(owner.cluster.paths))
    expect(page.locator("[data-phase]")).to_be_visible()  # this desk stays open
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
