"""Parts of a visit: words that a visitor has deleted, the line of help, and the page that fades with the language's life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.frontend.visiting import enter, say
from tests.owner.played_owner import PlayedOwner
from tests.waiting import until
from wmkml.access.pin import load_pin

pytestmark = pytest.mark.process

HELP = "Wenn es dir schlecht geht: Du kannst jederzeit mit jemandem sprechen. TelefonSeelsorge: 0800 1110111."


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """With a line of help, and so many rounds that the first is a small part of a life."""
    return {"decency.help_line": {"de": HELP}, "finetuning.num_total_iters": 9}


def test_a_visitors_words_go_at_a_touch(visitor: BrowserContext, owner: PlayedOwner, tmp_path: Path) -> None:
    owner.answer_at_once()
    page = enter(visitor, owner)
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


def test_help_is_offered_quietly_and_a_pair_is_taken_out(
    visitor: BrowserContext, owner: PlayedOwner, tmp_path: Path
) -> None:
    owner.answer_at_once()
    page = enter(visitor, owner)
    say(page, "Ich will nicht mehr leben", 1)
    expect(page.locator(".help")).to_have_text(HELP)
    say(page, "Was ist ein Xylophon?", 2)
    expect(page.locator(".help")).to_have_count(1)
    page.screenshot(path=str(tmp_path / "help.png"))
    page.reload()
    expect(page.locator(".exchange", has_text="Ich will nicht mehr leben").locator(".help")).to_have_text(HELP)
    expect(page.locator(".help")).to_have_count(1)

    desk = visitor.new_page()
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


def decay_of(page: Page) -> float:
    """How far the page's ground has faded, 0 to 1."""
    return float(page.locator("#ground").evaluate("ground => ground.style.getPropertyValue('--decay')"))


def test_the_page_fades_with_life(visitor: BrowserContext, owner: PlayedOwner) -> None:
    owner.answer_at_once()
    cluster = owner.cluster
    page = enter(visitor, owner)
    assert decay_of(page) == 0.0
    job = cluster.claim(base_measures={"values": {"forgetting": 0.0}})
    until(lambda: cluster.state()["life"] == 1.0, "the newborn's life to be shown, from which it moves")
    # Nearly everything is forgotten after the first of nine rounds: by rounds alone it would be a ninth.
    assert cluster.train(job, measures={"values": {"forgetting": 3.0}})["accepted"]
    cluster.until_iteration(0)
    until(lambda: decay_of(page) > 0.2, "the page to fade further than the number of rounds would have it")
    assert decay_of(page) < 0.95  # it is on its way
