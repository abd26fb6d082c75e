"""A visitor has their words deleted from the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.frontend.visiting import chromium, enter, say, watched
from tests.owner.played_owner import played_owner

pytestmark = pytest.mark.process


def test_a_visitors_words_go_at_a_touch(tmp_path: Path) -> None:
    with played_owner(tmp_path) as owner, chromium() as browser, watched(browser, owner.address) as context:
        owner.answer_at_once()
        page = enter(context, owner)
        say(page, "Was ist ein Xylophon?", 1)
        assert owner.cluster.counts()["visitor"] == 1
        page.locator("#consent summary").click()
        page.locator("#forget").click()
        expect(page.locator("#forgotten")).to_contain_text("Gelöscht")
        expect(page.locator("#talk")).not_to_contain_text("Xylophon")
        page.screenshot(path=str(tmp_path / "forgotten.png"))
        assert owner.cluster.counts()["visitor"] == 0
        page.reload()
        expect(page.locator("#talk")).to_be_visible()
        expect(page.locator("#talk")).not_to_contain_text("Xylophon")
