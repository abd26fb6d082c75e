"""A visitor's browser for the tests of the pages: Debian's Chromium against the real owner, watched for what it must not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.owner_house import ROOT
from tests.played_owner import PlayedOwner

PATIENCE_MS = 60_000
AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


@contextmanager
def chromium(*words: str) -> Iterator[Browser]:
    """Debian's Chromium with these arguments, driven by Playwright; no browser is downloaded."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "chromium is missing; ./run_tests.sh installs it"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # A container's root has no sandbox to give; the pages are our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *words])
        yield browser
        browser.close()


@contextmanager
def watched(browser: Browser, address: str, **how: Any) -> Iterator[BrowserContext]:
    """A browser that must see no error and no other host; motion is reduced, since nobody looks."""
    context = browser.new_context(**({"reduced_motion": "reduce"} | how))
    context.set_default_timeout(PATIENCE_MS)
    troubles: list[str] = []
    context.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    # The browser itself says so when the owner is gone or refuses; that is no fault of the page.
    ours = [text for text in troubles if "net::ERR_" not in text and "Failed to load resource" not in text]
    assert not ours
    assert asked
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)


def enter(context: BrowserContext, owner: PlayedOwner, language: str = "de", query: str = "") -> Page:
    """A new tab that has chosen a language and read what is said first."""
    page = context.new_page()
    page.goto(f"{owner.address}/{query}")
    begin(page, language)
    return page


def begin(page: Page, language: str = "de") -> None:
    """Choose a language and begin."""
    page.locator(f"button[data-language={language}]").click()
    page.locator("#begin").click()
    expect(page.locator("#talk")).to_be_visible()


def begin_by_keyboard(page: Page) -> None:
    """Choose the first language and begin, with keys alone."""
    expect(page.locator("#languages button")).to_have_count(2)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#begin")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_focused()


def say(page: Page, prompt: str, answers: int) -> None:
    """Say something and wait until so many answers are complete."""
    page.locator("#prompt").fill(prompt)
    page.keyboard.press("Enter")
    expect(page.locator(".exchange")).to_have_count(answers)
    settled(page)


def settled(page: Page) -> None:
    """Wait until no answer is under way and what is past a sentence's end has gone."""
    expect(page.locator("#send")).to_be_enabled()
    expect(page.locator(".token.gone")).to_have_count(0)


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations.flatMap(one => "
        "one.nodes.map(node => `${one.id}: ${node.target} ${node.failureSummary}`)))"
    )
    return found
