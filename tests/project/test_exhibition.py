"""A whole exhibition: the real services on the understudy, and its three pages in real browsers at once.

Keeps a picture of each page in three states of decay, under data/pictures/ of this checkout, for people to look at.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.frontend.stage_pictures import SOFTWARE
from tests.frontend.stage_projector import figures, frames_apart, wait_for
from tests.frontend.visiting import (
    OWNER_AWAY,
    begin,
    begin_by_keyboard,
    chromium,
    launched,
    settled,
    violations,
    watched,
)
from tests.project.processes import ServiceProcesses, processes
from wmkml.access.pin import load_pin
from wmkml.config.paths import PROJECT

PICTURES = PROJECT / "data" / "pictures"
ROUNDS = 30
"""More than are played: the desk ends each run, and a busy machine may let many pass before a button is pressed."""

HOLD_SECONDS = 10.0
"""Seconds for which each iteration answers at least: long enough that the desk's hold is pressed in mid-round."""

ROOM: ViewportSize = {"width": 1280, "height": 800}
SMALL: ViewportSize = {"width": 320, "height": 180}
PROJECTION: ViewportSize = {"width": 960, "height": 540}
"""Of the stage, while its picture is taken."""

PHONE: ViewportSize = {"width": 390, "height": 844}
WALL: ViewportSize = {"width": 3840, "height": 2160}

IDLE_SECONDS = 3600.0
"""Longer than these tests take; where a visitor shall have been away for so long, the page's clock is put forward."""

LOOKS = "all => all.map(one => one.getAttribute('style') ?? '').join()"

pytestmark = [pytest.mark.timeout(600), pytest.mark.process]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def projector(browser: Browser) -> Iterator[Browser]:
    """A browser for the stage alone: other pages that it draws with its WebGL in software cost many times as much."""
    with launched(browser.browser_type, *SOFTWARE) as projector:
        yield projector


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcesses]:
    overrides = {
        "finetuning.num_total_iters": ROUNDS,
        "finetuning.minimum_iteration_time": HOLD_SECONDS,
        "finetuning.last_iteration_time": 600.0,
        # Enough to answer in another way; what is asked and answered in the background is not looked at.
        "finetuning.samples_by_iteration": 6,
        "finetuning.sample_increase_by_iteration": 0,
        "inference.num_generated_responses": 1,
        "general.idle_seconds": IDLE_SECONDS,
    }
    with processes(tmp_path_factory.mktemp("cluster"), overrides) as cluster:
        for name in ("owner", "inference", "worker"):
            cluster.start(name)
        cluster.wait_until_ready()
        yield cluster


def open_page(
    browser: Browser, address: str, troubles: list[str], viewport: ViewportSize = ROOM, **options: Any
) -> Page:
    """A page in a browser of its own, which must see no error and no other host."""
    context = browser.new_context(viewport=viewport, **options)
    context.set_default_timeout(120_000)
    host = address.split("/", 3)[2]
    context.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on(
        "request",
        lambda request: (
            None if host in request.url or request.url.startswith(("data:", "blob:")) else troubles.append(request.url)
        ),
    )
    page = context.new_page()
    if "/stage" in address:
        page.add_init_script(frames_apart(500))
    page.goto(address)
    return page


def open_stage(projector: Browser, cluster: ServiceProcesses, troubles: list[str]) -> Page:
    """The stage; small and with few frames, for without a graphics card it is drawn by the cores that the language needs."""
    address = f"{cluster.owner}/stage?key={cluster.keys.stage}&tier=low&mute=1"
    return open_page(projector, address, troubles, SMALL)


def open_desk(browser: Browser, cluster: ServiceProcesses, troubles: list[str]) -> Page:
    """The desk, with the PIN entered."""
    desk = open_page(browser, cluster.owner + "/desk", troubles, locale="de-DE", reduced_motion="reduce")
    desk.get_by_label("PIN").fill(load_pin(cluster.paths))
    desk.keyboard.press("Enter")
    expect(desk.locator("[data-phase]")).to_be_visible()
    return desk


def test_a_run_is_lived_through_on_all_three_pages(
    browser: Browser, projector: Browser, cluster: ServiceProcesses
) -> None:
    expect.set_options(timeout=180_000)
    troubles: list[str] = []
    visitor = open_page(browser, cluster.owner + "/", troubles, reduced_motion="reduce")
    english = open_page(browser, cluster.owner + "/", troubles, PHONE, reduced_motion="reduce")
    stage = open_stage(projector, cluster, troubles)
    desk = open_desk(browser, cluster, troubles)

    begin(visitor, "de")
    assert cluster.state()["language"] == "de"
    begin(english, "en")
    shading = []
    for answers, (name, iteration) in enumerate((("1-early", -1), ("2-middle", 0), ("3-end", 1))):
        if iteration >= 0:
            cluster.hold(False)
        cluster.wait_for(lambda wanted=iteration: cluster.state()["iteration"] >= wanted, f"iteration {iteration}", 300)
        cluster.hold()  # it answers until it was looked at, however long a busy machine takes
        if name == "3-end":
            confirm(desk, "last_words", "Ja, letzte Worte beginnen")
            expect(desk.locator("[data-phase=last_words]")).to_be_visible()
        for page, prompt in ((visitor, "Was ist eine Sprache?"), (english, "What is a language?")):
            page.locator("#prompt").fill(prompt)
            page.keyboard.press("Enter")
            tokens = page.locator(".exchange").nth(answers).locator(".token")
            expect(tokens.first).to_be_visible()
            settled(page)
            assert tokens.count() > 2
        shading.append(visitor.locator(".exchange").last.locator(".token").evaluate_all(LOOKS))
        pictures(name, visitor, stage, desk)
    assert violations(visitor) == violations(desk) == []
    assert shading[0] != shading[-1]
    expect(visitor.locator(".exchange")).to_have_count(3)
    assert "language" not in visitor.locator("#conversation").inner_text(), "another station's words are not shown"

    confirm(desk, "rebirth", "Ja, Lauf beenden")
    expect(visitor.locator("#talk")).to_be_hidden()
    assert "Sprache?" not in visitor.content()
    assert cluster.state()["phase"] == "waiting"
    assert not troubles
    for page in (visitor, english, stage, desk):  # open pages go on being drawn
        page.context.close()


def test_a_visit_by_keyboard_alone_survives_what_happens_in_a_room(browser: Browser, cluster: ServiceProcesses) -> None:
    expect.set_options(timeout=180_000)
    with watched(browser, cluster.owner, {OWNER_AWAY}, viewport=PHONE) as context:
        page = context.new_page()
        page.clock.install()
        page.goto(cluster.owner + "/")
        begin_by_keyboard(page)
        cluster.hold()
        page.keyboard.type("Was ist ein Hund?")
        page.keyboard.press("Enter")
        expect(page.locator(".token").first).to_be_visible()
        settled(page)
        drawn = page.locator(".answer .token").evaluate_all(LOOKS)
        for size in (WALL, PHONE):
            page.set_viewport_size(size)
            assert violations(page) == []
            scrolled = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
            assert scrolled == [size["width"], size["height"]]

        # Reloaded in mid-answer: what was said is there and looks as it did; one can go on.
        page.keyboard.type("Und wo lebt er?")
        page.keyboard.press("Enter")
        expect(page.locator(".exchange").last.locator(".token").first).to_be_visible()
        page.reload()
        expect(page.locator(".prompt").first).to_have_text("Du: Was ist ein Hund?")
        settled(page)
        assert page.locator(".exchange").first.locator(".token").evaluate_all(LOOKS) == drawn

        # The owner dies and comes back.
        cluster.end("owner", signal.SIGKILL)
        expect(page.locator("#connection")).not_to_be_empty()
        cluster.start("owner")
        cluster.wait_until_ready()
        expect(page.locator("#connection")).to_be_empty()
        expect(page.locator(".prompt").first).to_have_text("Du: Was ist ein Hund?")
        page.locator("#prompt").focus()
        page.keyboard.type("Danke!")
        page.keyboard.press("Enter")
        expect(page.locator(".prompt").last).to_have_text("Du: Danke!")

        # The visitor goes away, and is forgotten.
        page.clock.fast_forward(round(IDLE_SECONDS * 1000))
        expect(page.locator("#threshold")).to_be_visible()
        assert "Hund" not in page.content()


def test_the_desks_buttons_lead_the_real_services(
    browser: Browser, projector: Browser, cluster: ServiceProcesses
) -> None:
    expect.set_options(timeout=180_000)
    troubles: list[str] = []
    desk = open_desk(browser, cluster, troubles)
    stage = open_stage(projector, cluster, troubles)
    start_english(desk, cluster)

    hold_a_round(desk, cluster)
    expect(desk.locator("[data-round=held]")).to_contain_text("sobald Sie loslassen")
    iteration = cluster.state()["iteration"]
    desk.get_by_role("button", name="Bühne dunkel").click()
    expect(stage.locator("#blank")).to_have_count(1)
    desk.get_by_role("button", name="Bühne zeigen").click()
    expect(stage.locator("#blank")).to_have_count(0)
    desk.get_by_label("Lernrate", exact=True).fill("0,002")
    desk.get_by_role("button", name="Übernehmen").click()
    expect(desk.get_by_text("Übernommen.")).to_be_visible()
    assert cluster.state()["iteration"] == iteration
    desk.get_by_role("button", name="Loslassen").click()
    cluster.wait_for(lambda: cluster.state()["iteration"] > iteration, "the adapter that was held")
    expect(desk.locator("[data-now=learning_rate]")).to_have_text("0,002")

    cluster.wait_for(lambda: cluster.state()["rounds"][-1]["iteration"] >= iteration + 2, "the next round")
    assert cluster.state()["rounds"][-1]["learning_rate"] == pytest.approx(0.002)
    hold_a_round(desk, cluster)
    confirm(desk, "skip", "Ja, Runde überspringen")
    expect(desk.locator("[data-round] li.skipped")).to_have_count(1)

    # A run from nothing, which has all its rounds before it.
    start_english(desk, cluster)
    confirm(desk, "last_words", "Ja, letzte Worte beginnen")
    expect(desk.locator("[data-phase=last_words]")).to_be_visible()
    expect(stage.locator("#state .warm")).to_have_text("last words")
    confirm(desk, "rebirth", "Ja, Lauf beenden")
    expect(desk.locator("[data-phase=waiting]")).to_be_visible()
    expect(stage.locator("#waiting")).to_be_visible()
    assert not troubles


def start_english(desk: Page, cluster: ServiceProcesses) -> None:
    """Start a run in English at the desk, also in the middle of another."""
    before = cluster.state()["run"]  # before the click, which begins a run at once where there is none
    desk.locator("[data-start=en]").click()
    if before is not None:
        desk.get_by_role("button", name="Ja, neu beginnen").click()

    def has_begun() -> bool:
        state = cluster.state()
        return bool(state["run"] != before and state["phase"] == "running" and state["language"] == "en")

    cluster.wait_for(has_begun, "a run")


def hold_a_round(desk: Page, cluster: ServiceProcesses) -> None:
    """Press hold while a round is trained.  On a busy machine it may answer before the button is pressed, and no other begins."""
    release = desk.get_by_role("button", name="Loslassen")
    for _ in range(ROUNDS // 3):
        cluster.wait_for(lambda: (cluster.state()["round"] or {}).get("status") in ("open", "training"), "a round")
        desk.locator("[data-do=hold]").click()
        expect(release).to_be_visible()
        if cluster.state()["round"] is not None:
            return
        release.click()
    raise AssertionError("every round answered before it could be held")


def confirm(desk: Page, button: str, yes: str) -> None:
    """Press a button of the desk and confirm."""
    desk.locator(f"[data-do={button}]").click()
    desk.get_by_role("dialog").get_by_role("button", name=yes).click()


def pictures(name: str, visitor: Page, stage: Page, desk: Page) -> None:
    """Save a screenshot of each of the three pages."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    stage.set_viewport_size(PROJECTION)
    drawn = figures(stage)["frames"]
    wait_for(stage, f"figures.frames > {drawn + 1}")
    for page, what in ((stage, "stage"), (visitor, "visitor"), (desk, "desk")):
        path: Path = PICTURES / f"{what}-{name}.png"
        page.screenshot(path=path, timeout=120_000)
        assert path.stat().st_size > 10_000
        stage.set_viewport_size(SMALL)
