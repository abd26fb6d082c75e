"""A whole visit with full motion, as most visitors see it, and one with reduced motion: everything is said in both, and only the
first moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.frontend.visiting import say, watched
from tests.owner.played_owner import KEPT_ANSWER, PlayedOwner
from tests.waiting import until

pytestmark = pytest.mark.process

RECORD_MOTION = """
window.motions = [];
// Svelte puts a component's hash before the names of its keyframes.
window.nameOf = (animation) => animation.animationName.replace(/^svelte-\\w+-/, '');
addEventListener('animationstart', (event) => window.motions.push(nameOf(event)), true);
addEventListener('transitionrun', (event) => window.motions.push('to ' + event.propertyName), true);
"""
"""Notes the names of all animations that start, and `to <property>` for transitions."""

MOTIONS = "[...window.motions, ...document.getAnimations().filter((one) => one.animationName).map(nameOf)]"
"""Those, and the animations that go on: one that two states of the page share does not start anew in the second."""

OnMotion = Callable[[str, set[str]], None]
"""Called after each step of a visit with what the step is, and with the motions that it starts where motion is not reduced."""


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """Pages that never forget an absent visitor."""
    return {"general.idle_seconds": 0.0}


def visit(page: Page, owner: PlayedOwner, on_motion: OnMotion) -> None:
    """Pass the threshold, ask, follow a round into another iteration, ask again, hear the last words and the end.

    What is said on the way is checked.
    """
    # Slowly enough that the page is seen to wait for the first token.
    owner.cluster.behave(alternatives=[["Kein ", 0.6]], pause=0.25)
    page.goto(owner.address + "/")
    expect(page.locator("h1")).to_contain_text("Watch me kill my language")
    on_motion("the threshold", {"rise", "sway"})
    page.locator("button[data-language=de]").click()
    expect(page.locator("#consent-first")).to_contain_text("eine Maschine, kein Mensch")
    on_motion("consent", {"rise"})
    page.locator("#begin").click()
    expect(page.locator("#conversation .empty")).to_be_visible()
    on_motion("an empty conversation", {"come"})
    say(page, "Was ist eine Sprache?", answers=1)
    expect(page.locator(".answer")).to_have_text(KEPT_ANSWER)
    expect(page.locator("#spoken")).to_have_text(f"Die Maschine: {KEPT_ANSWER}")
    expect(page.locator(".note")).to_have_text("Iteration −1 (unberührt)")
    on_motion("a streaming answer, and its cut end", {"wait", "appear", "fade", "sink"})
    page.locator(".token", has_text="Sprache").click()
    expect(page.locator("#alternatives")).to_contain_text("Kein")
    on_motion("what was nearly said", {"open"})
    page.keyboard.press("Escape")
    owner.train()
    expect(page.locator("#doing")).to_have_text("lernt … 4/4")
    on_motion("a round under way", {"breathe", "pulse"})
    owner.hand_in()
    expect(page.locator("#iteration")).to_have_text("Iteration 0")
    on_motion("a swap", {"to --decay", "to background-color"})
    say(page, "Und jetzt?", answers=2)
    expect(page.locator(".answer")).to_have_text([KEPT_ANSWER, KEPT_ANSWER])
    expect(page.locator(".note")).to_have_text(["Iteration −1 (unberührt)", "Iteration 0"])
    on_motion("another answer", {"wait", "appear", "fade", "sink"})
    owner.play_round()
    owner.play_round()
    expect(page.locator("#doing")).to_have_text("letzte Worte")
    on_motion("last words", {"pulse", "to opacity", "to --decay"})
    page.locator("#card-open").click()
    expect(page.locator("#card-save")).to_be_enabled()
    on_motion("the card", {"come"})
    page.keyboard.press("Escape")
    owner.end()
    expect(page.locator("#reborn")).to_contain_text("neu geboren")
    expect(page.locator("#conversation")).to_have_count(0)
    on_motion("the end", {"dawn", "rise", "sway"})


@pytest.fixture
def title_letter() -> str:
    """An expression: where the title's last letter is drawn."""
    return "getComputedStyle([...document.querySelectorAll('h1 i')].at(-1)).transform"


def test_a_visit_with_full_motion_moves(browser: Browser, owner: PlayedOwner, title_letter: str) -> None:
    with watched(browser, owner.address, reduced_motion="no-preference") as context:
        context.add_init_script(RECORD_MOTION)
        page = context.new_page()

        def on_motion(step: str, expected: set[str]) -> None:
            until(lambda: expected.issubset(page.evaluate(MOTIONS)), f"{expected} in {step}")
            page.evaluate("window.motions = []")

        visit(page, owner, on_motion)
        # Started, and under way: a letter is elsewhere a moment later.
        before = page.evaluate(title_letter)
        until(lambda: page.evaluate(title_letter) != before, "the title to sway")


def test_a_visit_with_reduced_motion_is_still(browser: Browser, owner: PlayedOwner, title_letter: str) -> None:
    with watched(browser, owner.address, reduced_motion="reduce") as context:
        context.add_init_script(RECORD_MOTION)
        page = context.new_page()

        def on_motion(step: str, _expected: set[str]) -> None:
            animations = "document.getAnimations().map(one => one.animationName ?? one.transitionProperty)"
            assert (step, page.evaluate(animations)) == (step, [])

        visit(page, owner, on_motion)
        before = page.evaluate(title_letter)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate(title_letter) == before
        assert page.evaluate("window.motions") == []
