"""What visitors, the projection and the desk show when it closes, and in panic: real pages, the real owner."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.frontend.visiting import begin, say, violations, watched
from tests.owner.played_owner import PlayedOwner
from wmkml.access.pin import load_pin

pytestmark = pytest.mark.process

REFUSED = "status of 503"


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """Open on every day but for one night, so that there is a time at which it opens again."""
    return {
        "general.opening_hours": "24/7; Jan 01 00:00-00:01 off",
        "general.time_zone": "UTC",
        "general.farewell_seconds": 600.0,
    }


def test_the_operator_closes_opens_and_stops_everything(
    browser: Browser, visitor: BrowserContext, owner: PlayedOwner, failing_loads: set[str]
) -> None:
    page = visitor.new_page()
    page.goto(owner.address + "/")
    with watched(browser, owner.address, locale="de-DE") as operator:
        desk = operator.new_page()
        desk.goto(owner.address + "/desk")
        desk.get_by_label("PIN").fill(load_pin(owner.cluster.paths))
        desk.keyboard.press("Enter")
        now = desk.locator("[data-open]")
        expect(now).to_contain_text("Geöffnet. Bis ")
        begin(page, "de")
        say(page, "Guten Abend.", answers=1)

        desk.locator("[data-opening=closed]").click()
        expect(now).to_contain_text("sagt seine letzten Worte")
        expect(page.locator("#connection")).to_have_text(
            "Es wird gleich geschlossen. Die Sprache sagt ihre letzten Worte."
        )
        say(page, "Gute Nacht.", answers=2)
        desk.locator("[data-do=rebirth]").click()
        desk.get_by_role("dialog").get_by_role("button", name="Ja, Lauf beenden").click()
        expect(page.locator("#closed [lang=de]")).to_contain_text("Die Sprache schläft.")
        expect(page.locator("#closed [lang=en]")).to_contain_text("One can talk with it again on")
        expect(page.locator("#connection")).to_be_empty()
        assert violations(page) == violations(desk) == []

        desk.locator("[data-opening=open]").click()
        begin(page, "de")
        stage = visitor.new_page()
        stage.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&tier=low&mute=1")
        expect(stage.locator("#state")).to_be_visible()
        desk.locator("[data-do=panic]").click()
        expect(desk.locator("header [role=status]")).to_contain_text("Alles ist angehalten.")
        expect(stage.locator("#blank")).to_have_count(1)
        expect(page.locator("#connection")).to_have_text("Einen Augenblick. Es geht gleich weiter.")
        failing_loads.add(REFUSED)
        page.locator("#prompt").fill("Noch da?")
        page.keyboard.press("Enter")
        expect(page.locator("#prompt")).to_have_value("Noch da?")
        desk.locator("[data-do=panic]").click()
        expect(stage.locator("#blank")).to_have_count(0)
        expect(page.locator("#connection")).to_be_empty()
        page.locator("#prompt").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".prompt").last).to_have_text("Du: Noch da?")
