"""The projection at `/stage` in a real browser (headless Chromium, WebGL in software), against the real owner over real HTTP."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.owner_house import until
from tests.played_owner import PlayedOwner, played_owner
from tests.stage_pictures import FEED, SOFTWARE, feed, state, training
from tests.visiting import chromium
from wmkml.owner.stage_access import COOKIE
from wmkml.places import SHIPPED_STAGE

PATIENCE = 120_000.0
"""Milliseconds: software draws a frame in what a graphics card draws a second in."""

LETTERS = 3_000
"""Of the lowest tier."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # As an exhibition starts it: sound needs nobody's click.
    with chromium(*SOFTWARE, "--autoplay-policy=no-user-gesture-required") as one:
        yield one


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedOwner]:
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(SHIPPED_STAGE, folder / "stage")
    with played_owner(folder) as one:
        yield one


@pytest.fixture
def owner(house: PlayedOwner) -> PlayedOwner:
    """The owner, waiting for a language, with the folder as it ships."""
    house.fresh()
    for name in ("mapping.yaml", "texts.yaml"):
        if (artists(house) / name).read_bytes() != (SHIPPED_STAGE / name).read_bytes():
            shutil.copyfile(SHIPPED_STAGE / name, artists(house) / name)
    until(
        lambda: not (told := house.get("/stage/runtime"))["problems"] and not told["fonts"],
        "the folder to be as it ships",
    )
    return house


@pytest.fixture
def projector(browser: Browser, owner: PlayedOwner) -> Iterator[BrowserContext]:
    """A projector's browser, which must see no error and no other host."""
    context = browser.new_context(viewport={"width": 320, "height": 180})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    troubles: list[str] = []
    context.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    assert not [text for text in troubles if "net::ERR_" not in text]
    assert asked
    assert all(url.startswith((owner.address, "blob:" + owner.address, "data:")) for url in asked)


def artists(owner: PlayedOwner) -> Path:
    return owner.house.places.stage


def show(context: BrowserContext, owner: PlayedOwner, asked: str = "mute=1") -> Page:
    """The stage, opened with its key."""
    page = context.new_page()
    page.goto(f"{owner.address}/stage?key={owner.house.keys.stage}&tier=low&{asked}")
    expect(page.locator("main[data-drawing=true]")).to_be_visible()
    return page


def figures(page: Page) -> dict[str, Any]:
    return dict(page.evaluate("window.stageFigures()"))


def wait_for(page: Page, what: str) -> None:
    """Wait until an expression over `figures` is true.  (The page's policy forbids waiting by a string in the page.)"""
    for _ in range(int(PATIENCE / 200)):
        if page.evaluate(f"(() => {{ const figures = window.stageFigures(); return {what}; }})()"):
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"in vain: {what}; {figures(page)}")


def test_the_key_opens_it_once_and_leaves_the_address(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    assert page.url == f"{owner.address}/stage?tier=low&mute=1"
    [cookie] = projector.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Strict")
    page.goto(owner.address + "/stage?tier=low&mute=1")
    expect(page.locator("main[data-phase=waiting]")).to_be_visible()
    expect(page.locator("#waiting")).to_contain_text("Eine Sprache wartet")


def test_without_its_key_it_says_what_to_do(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = projector.new_page()
    for address in ("/stage", "/stage?key=wrong"):
        page.goto(owner.address + address)
        expect(page.locator(".closed [lang=de]")).to_contain_text("braucht ihren Schlüssel")
        expect(page.locator(".closed [lang=en]")).to_contain_text("./master_script.sh")
        assert page.url == owner.address + "/stage"
        assert projector.cookies() == []
    with httpx.Client(base_url=owner.address) as client:
        assert client.get("/events").status_code == 401
        assert client.get("/events", headers={"Cookie": f"{COOKIE}=wrong"}).status_code == 401
        # The worker's key is none of the stage's, and the operator's is never left in a browser.
        for key in (owner.house.keys.worker, owner.house.keys.operator):
            reply = client.get("/stage", params={"key": key})
            assert (reply.status_code, reply.headers.get("set-cookie")) == (303, None)
        assert client.post("/operator/stage", json={"blank": True}).status_code == 401


def test_a_life_passes(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    owner.begin("de")
    expect(page.locator("#state")).to_have_text("noch unberührt")
    owner.say("Was ist eine Sprache?", "one")
    wait_for(page, "figures.spoken > 40 && figures.instances > 30")
    assert figures(page)["measures"]["probability"] == pytest.approx(0.63, abs=0.1)
    before = figures(page)["instances"]
    owner.say("<b>Und</b> dann?", "two")
    wait_for(page, f"figures.instances > {before + 30}")
    owner.train()
    expect(page.locator("#state .warm")).to_have_text("lernt aus dem, was gesagt wurde")
    wait_for(page, "figures.measures.learning === 1 && figures.measures.loss > 1")
    owner.hand_in()
    expect(page.locator("main[data-iteration='0']")).to_be_visible()
    expect(page.locator("#state")).to_contain_text("Iteration 0")
    wait_for(page, "figures.measures.iteration > 0.3 && figures.targets.colour < 0.95")
    owner.round()
    owner.round()
    expect(page.locator("#state .warm")).to_have_text("letzte Worte")
    owner.end()
    expect(page.locator("#happening")).to_have_text("Diese Sprache ist zu Ende.")
    expect(page.locator("#waiting")).to_be_visible()
    wait_for(page, "figures.instances === 0")
    owner.begin("en")
    expect(page.locator("#state")).to_have_text("still untouched")
    wait_for(page, "figures.targets.colour > 0.95")


def test_it_survives_the_owner(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    owner.begin("de")
    owner.kill()
    expect(page.locator("#gone")).to_be_visible()
    owner.start()
    expect(page.locator("#gone")).to_be_hidden()
    owner.say("Noch da?", "one")
    wait_for(page, "figures.spoken > 40")


def test_a_saved_mapping_appears_at_once_and_a_mistake_keeps_it(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    path = artists(owner) / "mapping.yaml"
    shipped = path.read_text(encoding="utf-8")
    line = "{target: tempo, input: iteration, range_in: [0, 1], range_out: [66, 38], seconds: 6}"
    changed = shipped.replace(line, line.replace("66", "99"))
    assert changed != shipped
    path.write_text(changed, encoding="utf-8")
    wait_for(page, "Math.abs(figures.targets.tempo - (99 + 0.5 * 60) / 1.5) < 0.01")
    path.write_text(changed.replace("range_out: [99, 38]", "range_out: [990, 38]"), encoding="utf-8")
    number = changed.split("\n").index(next(one for one in changed.split("\n") if "[99, 38]" in one)) + 1
    told = f"Stage: mapping.yaml, line {number}: mappings"
    expect(page.locator("#problems")).to_contain_text(told)
    expect(page.locator("#problems")).to_contain_text("tempo goes from 20 to 140")
    assert [notice for notice in owner.get("/state")["notices"] if notice.startswith(told)]
    wait_for(page, "Math.abs(figures.targets.tempo - (99 + 0.5 * 60) / 1.5) < 0.01")
    path.write_text(shipped, encoding="utf-8")
    expect(page.locator("#problems")).to_have_count(0)
    wait_for(page, "Math.abs(figures.targets.tempo - (66 + 0.5 * 60) / 1.5) < 0.01")
    assert not [notice for notice in owner.get("/state")["notices"] if notice.startswith("Stage:")]


def test_saved_texts_appear_at_once(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    path = artists(owner) / "texts.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("Eine Sprache wartet", "Ein Wort wartet <b>"), encoding="utf-8"
    )
    expect(page.locator("#waiting p")).to_contain_text("Ein Wort wartet <b>")


def test_a_font_is_used_and_one_that_the_browser_cannot_read_is_told(
    projector: BrowserContext, owner: PlayedOwner
) -> None:
    page = show(projector, owner)
    font = artists(owner) / "fonts" / "broken.woff2"
    font.write_bytes(b"wOF2" + b"no font" * 9)
    try:
        expect(page.locator("#problems")).to_contain_text("fonts/broken.woff2: the browser cannot read this font")
        built = next((Path(__file__).parent.parent / "frontend" / "dist" / "assets").glob("inter-latin-wght*.woff2"))
        shutil.copyfile(built, font)
        expect(page.locator("#problems")).to_have_count(0)
        expect(page.locator("main")).to_have_attribute("style", re.compile(r"'stage \d+ 0', 'Literata Variable'"))
    finally:
        font.unlink()


def test_a_font_that_was_just_taken_away_is_not_there(owner: PlayedOwner) -> None:
    font = artists(owner) / "fonts" / "gone.ttf"
    font.write_bytes(b"\0\1\0\0" + b"x" * 8)
    until(lambda: owner.get("/stage/runtime")["fonts"] == [font.name], "the font")
    assert owner.house.owner.get(f"/stage/runtime/fonts/{font.name}").content == font.read_bytes()
    font.unlink()
    # At once: the folder is looked at only now and then.
    assert owner.house.owner.get(f"/stage/runtime/fonts/{font.name}").status_code == 404


def test_it_steps_down_by_itself_and_loses_no_word(projector: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("de")
    owner.say("Was ist das?", "one")
    page = projector.new_page()
    # Large enough that no processor draws it in a frame's time.
    page.set_viewport_size({"width": 1920, "height": 1200})
    page.goto(f"{owner.address}/stage?key={owner.house.keys.stage}&begin=high&mute=1")
    expect(page.locator("main[data-drawing=true]")).to_be_visible()
    wait_for(page, "figures.instances > 40")
    before = figures(page)["instances"]
    wait_for(page, "figures.tier === 'middle' || figures.tier === 'low'")
    assert figures(page)["instances"] == before


def test_a_stage_that_is_opened_late_shows_what_was_said(projector: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("de")
    for number in range(3):
        owner.say(f"Was ist das {number}?", "one")
    owner.say("Und hier?", "two")
    page = show(projector, owner)
    wait_for(page, "figures.spoken > 120 && figures.instances > 120")
    assert figures(page)["measures"]["probability"] == pytest.approx(0.63, abs=0.1)
    assert figures(page)["measures"]["speaking"] == 0
    before = figures(page)["instances"]
    page.reload()
    wait_for(page, f"figures.instances === {before}")
    # What is said from now on is read as ever.
    owner.say("Und jetzt?", "one")
    wait_for(page, f"figures.instances > {before + 30}")


def test_the_operator_blanks_it(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    key = {"X-Key": owner.house.keys.operator}
    for blank in (True, False):
        reply = owner.house.owner.post("/operator/stage", json={"blank": blank}, headers=key)
        assert reply.status_code == 200, reply.text
        expect(page.locator("#blank")).to_have_count(int(blank))
        page.reload()
        expect(page.locator("main[data-phase=waiting]")).to_be_visible()
        expect(page.locator("#blank")).to_have_count(int(blank))


def test_sound_starts_by_itself_and_not_where_osc_drives_it(projector: BrowserContext, owner: PlayedOwner) -> None:
    assert owner.get("/state")["osc"]
    page = show(projector, owner, asked="")
    expect(page.locator("main[data-phase=waiting]")).to_be_visible()
    expect(page.locator("main[data-sound=silent]")).to_be_visible()
    page.keyboard.press("m")
    expect(page.locator("main[data-sound=sounds]")).to_be_visible()
    page.keyboard.press("m")
    expect(page.locator("main[data-sound=silent]")).to_be_visible()
    page = show(projector, owner, asked="sound=1")
    expect(page.locator("main[data-sound=sounds]")).to_be_visible()


def test_any_text_is_shown_as_text(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    owner.begin("de")
    texts = [
        "<img src=x onerror=alert(1)>",
        "שלום עולם",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "語言" * 300,
        "x" * 10_000,
        "".join(map(chr, range(0x100, 0x900))),
    ]
    for text in texts:
        feed(page, "prompt", {"station": "s", "text": text})
        page.evaluate(FEED, [text, 0.5, 1.0, -1, "s"])
        page.evaluate("window.stage.pass(20)")
    wait_for(page, "figures.instances > 1000")
    assert figures(page)["instances"] <= LETTERS
    expect(page.locator("main img")).to_have_count(0)


def test_a_long_life_stays_bounded(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    words = " ".join(f"Wort{number} ist ein Haus" for number in range(40))
    seen = []
    for iteration in range(-1, 8):
        feed(page, "state", state(iteration, "running"))
        for _ in range(6):
            page.evaluate(FEED, [words, 0.6, 1.2, iteration, "one"])
            page.evaluate(FEED, [words, 0.6, 1.2, iteration, "two"])
            page.evaluate("window.stage.pass(30)")
        for step in range(1, 5):
            feed(page, "round", training(iteration + 1, step, 2.0))
            page.evaluate("window.stage.pass(2)")
        feed(page, "swap", {"iteration": iteration + 1, "swap_seconds": 0.1, "held_seconds": 0.0})
        page.wait_for_timeout(300)
        page.request_gc()
        seen.append(figures(page))
    assert seen[-1]["spoken"] > 60_000
    assert all(one["instances"] == LETTERS for one in seen[2:])
    assert all(one["calls"] <= 2 for one in seen)
    assert all(one["textures"] <= 1 and one["geometries"] <= 2 for one in seen)
    # Nothing that was said is kept: what is left when the garbage is gone does not grow with it.
    assert seen[-1]["heap"] < seen[2]["heap"] + 3_000_000, [one["heap"] for one in seen]


STATES: list[dict[str, float]] = [
    {
        "tempo": 64,
        "density": 0.62,
        "harmony": 0.9,
        "sameness": 0.05,
        "timbre": 3600,
        "detune": 3,
        "loudness": -9,
        "drone": 0.25,
    },
    {
        "tempo": 52,
        "density": 0.35,
        "harmony": 0.5,
        "sameness": 0.4,
        "timbre": 1300,
        "detune": 15,
        "loudness": -9,
        "drone": 0.4,
    },
    {
        "tempo": 38,
        "density": 0.08,
        "harmony": 0.05,
        "sameness": 0.85,
        "timbre": 420,
        "detune": 30,
        "loudness": -17,
        "drone": 0.6,
    },
]
"""What the shipped mapping makes of a language that is whole, of one half-way, and of last words; roughly."""

SECONDS = 10


def sound(rendered: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The samples of what was rendered."""
    return np.frombuffer(base64.b64decode(rendered["samples"]), dtype="<f4")


def test_the_music_says_what_the_mapping_says(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner, asked="mute=1&blank=1")
    heard = [
        page.evaluate("([targets, seconds]) => window.stage.music(targets, seconds)", [one, SECONDS]) for one in STATES
    ]
    onsets = [len(one["onsets"]) / SECONDS for one in heard]
    centroids, loudest = [], []
    for one in heard:
        samples = sound(one)
        assert len(samples) == SECONDS * one["rate"]
        spectrum = np.abs(np.fft.rfft(samples))
        frequencies = np.fft.rfftfreq(len(samples), 1 / one["rate"])
        centroids.append(float((spectrum**2 * frequencies).sum() / (spectrum**2).sum()))
        loudest.append(float(np.abs(samples).max()))
    assert onsets[0] > 1.5 * onsets[1] > 2 * onsets[2], onsets
    assert centroids[0] > 1.1 * centroids[1] > 1.2 * centroids[2], centroids
    assert all(0.01 < one <= 1 for one in loudest), loudest
    assert {one["voices"] for one in heard} == {11}
    silence = page.evaluate(
        "([targets, seconds]) => window.stage.music(targets, seconds)", [STATES[2] | {"density": 0, "drone": 0}, 4]
    )
    assert float(np.abs(sound(silence)).max()) < 0.2
