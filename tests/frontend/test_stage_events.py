"""Each event of a run changes the projection by far more than what goes on anyhow, so that a stranger notices it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.frontend.stage_events import ALONE, EVENTS, greatest_change, picture, pictures, prepare
from tests.owner.played_owner import PlayedOwner

pytestmark = pytest.mark.process

TIMES = 2.5
"""So many times as much as quiet seconds must an event change the picture."""

LEAST = 4.0
"""Of 255, in the mean of all pixels: by less nobody looks up."""


PICTURE_ALONE = """
(() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('main > :not(canvas) { visibility: hidden !important; }');
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
})()
"""
"""As a sheet and not as a tag, which the page's policy refuses."""


@pytest.fixture
def stage(projector: BrowserContext, owner: PlayedOwner) -> Iterator[Page]:
    """The projection of a language in the middle of its life, drawn at the test's clock."""
    page = projector.new_page()
    page.add_init_script(ALONE)
    page.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&tier=low&mute=1")
    expect(page.locator("main[data-drawing=true]")).to_be_visible()
    # What is written over the picture is seen besides: the picture alone must show that something happens.
    page.evaluate(PICTURE_ALONE)
    prepare(page)
    yield page
    page.close()


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_noticed_by_who_knows_nothing(stage: Page, name: str) -> None:
    event = EVENTS[name]
    before = picture(stage)
    quiet_pictures = pictures(stage, event.moments)
    quiet = greatest_change(before, quiet_pictures)
    event.happen(stage)
    changed = greatest_change(quiet_pictures[-1], pictures(stage, event.moments))
    assert changed > LEAST and changed > TIMES * quiet, (changed, quiet)
