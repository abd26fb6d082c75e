"""The exhibition as it is lived: the real services on the understudy, and the three pages of it in real browsers at once.

Keeps a picture of each page in three states of decay, under data/pictures/ of this checkout, for people to look at.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.processes import Processes, processes
from tests.stage_pictures import SOFTWARE
from tests.visiting import begin, begin_by_keyboard, chromium, settled, violations, watched
from wmkml.cluster.arguments import PROJECT
from wmkml.config import Settings
from wmkml.pin import load_pin

PICTURES = PROJECT / "data" / "pictures"
ROUNDS = 3
LOOKS = "all => all.map(one => one.getAttribute('style') ?? '').join()"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*SOFTWARE) as one:
        yield one


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    overrides = {
        "finetuning.num_total_iters": ROUNDS,
        "finetuning.minimum_iteration_time": 25.0,
        "finetuning.last_iteration_time": 120.0,
        "inference.max_tokens": 40,
        "general.idle_seconds": 0.0,
    }
    with processes(tmp_path_factory.mktemp("cluster"), overrides) as one:
        for name in ("owner", "inference", "worker"):
            one.start(name)
        one.wait_until_ready()
        yield one


def opened(browser: Browser, address: str, troubles: list[str], **how: object) -> Page:
    """A page in a browser of its own, which must see no error and no other host."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **how)  # type: ignore[arg-type]
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
    page.goto(address)
    return page


def test_a_run_is_lived_through_on_all_three_pages(browser: Browser, cluster: Processes) -> None:
    expect.set_options(timeout=180_000)
    troubles: list[str] = []
    visitor = opened(browser, cluster.owner + "/", troubles, reduced_motion="reduce")
    english = opened(browser, cluster.owner + "/", troubles, reduced_motion="reduce")
    stage = opened(browser, f"{cluster.owner}/stage?key={cluster.keys.stage}&tier=low&mute=1", troubles)
    desk = opened(browser, cluster.owner + "/desk", troubles, locale="de-DE")
    desk.get_by_label("PIN").fill(load_pin(cluster.places))
    desk.keyboard.press("Enter")
    expect(desk.locator("[data-phase]")).to_be_visible()

    begin(visitor, "de")
    assert cluster.state()["language"] == "de"
    begin(english, "en")
    shading = []
    for answers, (name, iteration) in enumerate((("1-early", -1), ("2-middle", 0), ("3-end", ROUNDS - 1))):
        cluster.wait_for(lambda wanted=iteration: cluster.state()["iteration"] >= wanted, f"iteration {iteration}", 300)
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
    expect(desk.locator("[data-phase=last_words]")).to_be_visible()

    confirm(desk, "rebirth", "Ja, Lauf beenden")
    expect(visitor.locator("#talk")).to_be_hidden()
    assert "Sprache?" not in visitor.content()
    assert cluster.state()["phase"] == "waiting"
    assert not troubles


@pytest.mark.parametrize(("width", "height"), [(390, 844), (3840, 2160)], ids=["phone", "wall"])
def test_a_visit_by_keyboard_alone_survives_what_happens_in_a_room(
    browser: Browser, cluster: Processes, width: int, height: int
) -> None:
    expect.set_options(timeout=180_000)
    size = {"width": width, "height": height}
    with watched(browser, cluster.owner, viewport=size) as context:
        page = context.new_page()
        page.goto(cluster.owner + "/")
        begin_by_keyboard(page)
        page.keyboard.type("Was ist ein Hund?")
        page.keyboard.press("Enter")
        expect(page.locator(".token").first).to_be_visible()
        settled(page)
        drawn = page.locator(".answer .token").evaluate_all(LOOKS)
        assert violations(page) == []
        assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
            width,
            height,
        ]

        # Reloaded in mid-answer: what was said is there and looks as it did; one can go on.
        page.keyboard.type("Und wo lebt er?")
        page.keyboard.press("Enter")
        expect(page.locator(".exchange").last.locator(".token").first).to_be_visible()
        page.reload()
        expect(page.locator(".prompt").first).to_have_text("Du: Was ist ein Hund?")
        settled(page)
        assert page.locator(".exchange").first.locator(".token").evaluate_all(LOOKS) == drawn

        # The owner dies and comes back; this time it minds an empty room.
        cluster.end("owner", signal.SIGKILL)
        expect(page.locator("#connection")).not_to_be_empty()
        cluster.settings = with_idle(cluster.settings, 20.0)
        cluster.start("owner")
        cluster.wait_until_ready()
        expect(page.locator("#connection")).to_be_empty()
        expect(page.locator(".prompt").first).to_have_text("Du: Was ist ein Hund?")
        page.locator("#prompt").focus()
        page.keyboard.type("Danke!")
        page.keyboard.press("Enter")
        expect(page.locator(".prompt").last).to_have_text("Du: Danke!")
        expect(page.locator("#threshold")).to_be_visible()
        assert "Hund" not in page.content()
    cluster.settings = with_idle(cluster.settings, 0.0)
    cluster.end("owner")
    cluster.start("owner")
    cluster.wait_until_ready()


def test_the_desks_buttons_lead_the_real_services(browser: Browser, cluster: Processes) -> None:
    expect.set_options(timeout=180_000)
    troubles: list[str] = []
    stage = opened(browser, f"{cluster.owner}/stage?key={cluster.keys.stage}&tier=low&mute=1", troubles)
    desk = opened(browser, cluster.owner + "/desk", troubles, locale="de-DE")
    desk.get_by_label("PIN").fill(load_pin(cluster.places))
    desk.keyboard.press("Enter")

    left = cluster.state()["phase"] != "waiting"  # before the click, which begins a run at once where there is none
    desk.locator("[data-start=en]").click()
    if left:  # a visit before this one left a run
        desk.get_by_role("button", name="Ja, neu beginnen").click()
    cluster.wait_for(lambda: cluster.state()["language"] == "en" and cluster.state()["phase"] == "running", "a run")

    desk.get_by_role("button", name="Bühne dunkel").click()
    expect(stage.locator("#blank")).to_have_count(1)
    desk.get_by_role("button", name="Bühne zeigen").click()
    expect(stage.locator("#blank")).to_have_count(0)

    desk.locator("[data-do=hold]").click()
    expect(desk.locator("[data-round=held]")).to_contain_text("sobald Sie loslassen")
    assert cluster.state()["iteration"] == -1
    desk.get_by_label("Lernrate", exact=True).fill("0,002")
    desk.get_by_role("button", name="Übernehmen").click()
    expect(desk.get_by_text("Übernommen.")).to_be_visible()
    desk.get_by_role("button", name="Loslassen").click()
    expect(desk.locator("dd", has_text="Iteration 0")).to_be_visible()
    expect(desk.locator("[data-now=learning_rate]")).to_have_text("0,002")

    cluster.wait_for(lambda: len(cluster.state()["rounds"]) == 2, "the next round")
    assert cluster.state()["rounds"][1]["learning_rate"] == pytest.approx(0.002)
    confirm(desk, "skip", "Ja, Runde überspringen")
    expect(desk.locator("[data-round] li.skipped")).to_have_count(1)
    confirm(desk, "last_words", "Ja, letzte Worte beginnen")
    expect(desk.locator("[data-phase=last_words]")).to_be_visible()
    expect(stage.locator("#state .warm")).to_have_text("last words")
    confirm(desk, "rebirth", "Ja, Lauf beenden")
    expect(desk.locator("[data-phase=waiting]")).to_be_visible()
    expect(stage.locator("#waiting")).to_be_visible()
    assert not troubles


def confirm(desk: Page, button: str, yes: str) -> None:
    """Press a button of the desk, and mean it."""
    desk.locator(f"[data-do={button}]").click()
    desk.get_by_role("dialog").get_by_role("button", name=yes).click()


def with_idle(settings: Settings, seconds: float) -> Settings:
    """The settings with another patience of the pages."""
    return settings.model_copy(update={"general": settings.general.model_copy(update={"idle_seconds": seconds})})


def pictures(name: str, visitor: Page, stage: Page, desk: Page) -> None:
    """Keep how the three pages look now."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for page, what in ((visitor, "visitor"), (stage, "stage"), (desk, "desk")):
        path: Path = PICTURES / f"{what}-{name}.png"
        page.screenshot(path=path, timeout=120_000)
        assert path.stat().st_size > 10_000
