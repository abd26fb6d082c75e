"""The line of help on the visitor's page, and a pair that the operator takes out of the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.frontend.visiting import chromium, enter, say, watched
from tests.owner.played_owner import played_owner
from wmkml.access.pin import load_pin

pytestmark = pytest.mark.process

HELP = "Wenn es dir schlecht geht: Du kannst jederzeit mit jemandem sprechen. TelefonSeelsorge: 0800 1110111."


def test_help_is_offered_quietly_and_a_pair_is_taken_out(tmp_path: Path) -> None:
    settings = {"decency.help_line": {"de": HELP}}
    with (
        played_owner(tmp_path, **settings) as owner,
        chromium() as browser,
        watched(browser, owner.address) as context,
    ):
        owner.answer_at_once()
        page = enter(context, owner)
        say(page, "Ich will nicht mehr leben", 1)
        expect(page.locator(".help")).to_have_text(HELP)
        say(page, "Was ist ein Xylophon?", 2)
        expect(page.locator(".help")).to_have_count(1)
        page.screenshot(path=str(tmp_path / "help.png"))
        page.reload()
        expect(page.locator(".exchange", has_text="Ich will nicht mehr leben").locator(".help")).to_have_text(HELP)
        expect(page.locator(".help")).to_have_count(1)

        desk = context.new_page()
        desk.goto(f"{owner.address}/desk")
        desk.locator("input").fill(load_pin(owner.cluster.paths))
        desk.keyboard.press("Enter")
        desk.locator("[data-do=show_said]").click()
        # What is its visitor's alone is not among the last words.
        expect(desk.locator(".exchange")).to_have_count(1)
        expect(desk.locator(".exchange")).to_contain_text("Xylophon")
        desk.locator(".exchange").screenshot(path=str(tmp_path / "desk.png"))
        desk.locator("[data-remove]").click()
        expect(desk.locator(".exchange")).to_have_count(0)
        assert [pair["prompt"] for pair in owner.cluster.pairs("visitor")] == ["Ich will nicht mehr leben"]
