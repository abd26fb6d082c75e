"""The projection at `/stage` under axe-core, in each state that it can show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.frontend.stage_pictures import SOFTWARE
from tests.frontend.stage_projector import show, stage_folder, wait_for
from tests.frontend.visiting import OWNER_AWAY, chromium, violations
from tests.owner.played_owner import PlayedOwner
from wmkml.config.paths import SHIPPED_STAGE

pytestmark = pytest.mark.process

SCREEN: ViewportSize = {"width": 1280, "height": 720}
"""Texts are sized by the screen; on the tiny one that is quick to draw they would all be illegible."""

STOP_FRAMES = "window.requestAnimationFrame = () => 0"
"""From then on the stage's time stands still, and with it what it announces, until `window.stage.pass`."""

SHOW_TEXTS = """() => {
    document.querySelector('canvas').style.visibility = 'hidden';
    for (const animation of document.getAnimations()) {
        const {duration} = animation.effect.getTiming();
        animation.pause();
        animation.currentTime = animation.animationName.endsWith('pass') ? 0.22 * duration : duration;
    }
}"""
"""Hides the canvas, for axe-core judges no text's contrast over one, and stops each animation where its text is most visible: that of a
number which passes by before its end, every other one at its end."""

REPORT_SOUND = """new MutationObserver(() => {
    const sound = document.querySelector('main')?.dataset.sound;
    if (sound) console.info('sound ' + sound);
}).observe(document, {subtree: true, childList: true, attributes: true, attributeFilter: ['data-sound']})"""


@pytest.fixture(scope="module")
def webgl_browser() -> Iterator[Browser]:
    """Chromium with WebGL in software, and sound only after a click."""
    with chromium(*SOFTWARE, "--autoplay-policy=document-user-activation-required") as browser:
        yield browser


@pytest.fixture(scope="module")
def owner_folder(owner_folder: Path) -> Path:
    """The folder of the module's owner, with a stage folder of its own."""
    shutil.copytree(SHIPPED_STAGE, owner_folder / "stage")
    return owner_folder


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong with the texts that are shown."""
    page.evaluate(SHOW_TEXTS)
    return violations(page)


def test_nobody_is_kept_out_without_a_key(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = projector.new_page()
    page.set_viewport_size(SCREEN)
    page.goto(owner.address + "/stage")
    expect(page.locator(".closed p")).to_have_count(2)
    assert faults(page) == []


def test_nobody_is_kept_out_of_a_life(projector: BrowserContext, owner: PlayedOwner, failing_loads: set[str]) -> None:
    page = show(projector, owner, query="mute=1&figures=1")
    page.set_viewport_size(SCREEN)
    expect(page.locator("#figures")).to_be_visible()
    page.evaluate(STOP_FRAMES)
    expect(page.locator("#waiting")).to_be_visible()
    expect(page.locator(".credits li")).not_to_have_count(0)
    assert faults(page) == []
    owner.begin("de")
    owner.say("Was ist eine Sprache?", "one")
    wait_for(page, "figures.spoken > 40")
    expect(page.locator("#state")).to_have_text("noch unberührt")
    assert faults(page) == []
    owner.train()
    expect(page.locator("#state .warm")).to_have_text("lernt aus dem, was gesagt wurde")
    assert faults(page) == []
    owner.hand_in()
    expect(page.locator("#swap")).to_have_text("0")
    assert faults(page) == []
    page.emulate_media(reduced_motion="reduce")
    assert faults(page) == []
    page.emulate_media(reduced_motion="no-preference")
    owner.play_round()
    owner.play_round()
    expect(page.locator("#happening")).to_have_text("letzte Worte")
    assert faults(page) == []
    blank = {"blank": True}
    reply = owner.cluster.owner.post("/operator/stage", json=blank, headers={"X-Key": owner.cluster.keys.operator})
    assert reply.status_code == 200
    expect(page.locator("#blank")).to_be_visible()
    assert faults(page) == []
    owner.cluster.owner.post("/operator/stage", json={"blank": False}, headers={"X-Key": owner.cluster.keys.operator})
    expect(page.locator("#blank")).to_have_count(0)
    owner.end()
    expect(page.locator("#happening")).to_have_text("Diese Sprache ist zu Ende.")
    assert faults(page) == []
    texts = stage_folder(owner) / "texts.yaml"
    texts.write_text("de: nothing", encoding="utf-8")
    expect(page.locator("#problems")).to_contain_text("texts.yaml")
    assert faults(page) == []
    shutil.copyfile(SHIPPED_STAGE / texts.name, texts)
    expect(page.locator("#problems")).to_have_count(0)
    failing_loads.add(OWNER_AWAY)
    owner.kill()
    expect(page.locator("#gone")).to_be_visible()
    assert faults(page) == []


def test_nobody_is_kept_out_where_sound_waits_for_a_click(projector: BrowserContext, owner: PlayedOwner) -> None:
    projector.add_init_script(REPORT_SOUND)
    page = projector.new_page()
    page.set_viewport_size(SCREEN)
    # Whatever Playwright evaluates in a page counts as a click there: until the sound has been refused, nothing is.
    with page.expect_console_message(lambda message: message.text == "sound waits"):
        page.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&tier=low&sound=1", wait_until="commit")
    expect(page.locator("#sound")).to_have_text("Ein Klick, und man hört es.")
    assert faults(page) == []
