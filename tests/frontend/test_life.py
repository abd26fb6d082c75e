"""The visitor's page fades with the language's life as it was measured, whatever the iteration's number."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.frontend.visiting import chromium, enter, watched
from tests.owner.played_owner import played_owner
from tests.waiting import until

pytestmark = pytest.mark.process


def decay_of(page: Page) -> float:
    """How far the page's ground has faded, 0 to 1."""
    return float(page.locator("#ground").evaluate("ground => ground.style.getPropertyValue('--decay')"))


def test_the_page_fades_with_life(tmp_path: Path) -> None:
    with (
        played_owner(tmp_path, **{"finetuning.num_total_iters": 9}) as owner,
        chromium() as browser,
        watched(browser, owner.address) as context,
    ):
        owner.answer_at_once()
        cluster = owner.cluster
        page = enter(context, owner)
        assert decay_of(page) == 0.0
        job = cluster.claim(base_measures={"values": {"forgetting": 0.0}})
        until(lambda: cluster.state()["life"] == 1.0, "the newborn's life to be shown, from which it moves")
        # Nearly everything is forgotten after the first of nine rounds: by rounds alone it would be a ninth.
        assert cluster.train(job, measures={"values": {"forgetting": 3.0}})["accepted"]
        cluster.until_iteration(0)
        until(lambda: decay_of(page) > 0.2, "the page to fade further than the number of rounds would have it")
        assert decay_of(page) < 0.95  # it is on its way
