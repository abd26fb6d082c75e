"""A visitor's browser for the tests of the pages: Debian's Chromium against the real owner, checked for errors and other hosts."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, BrowserType, Page, ViewportSize, expect, sync_playwright

from tests.owner.owner_cluster import ROOT
from tests.owner.played_owner import PlayedOwner

PATIENCE_MS = 60_000
SCREEN: ViewportSize = {"width": 960, "height": 540}
"""Of who says no other: the processor draws it, and Playwright's own has twice as many pixels."""

AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


@contextmanager
def chromium(*words: str) -> Iterator[Browser]:
    """Debian's Chromium with these arguments, driven by Playwright; no browser is downloaded."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright, launched(playwright.chromium, *words) as browser:
        yield browser


@contextmanager
def launched(kind: BrowserType, *words: str) -> Iterator[Browser]:
    """Another of Debian's Chromium with these arguments, at a Playwright that runs."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "chromium is missing; ./run_tests.sh installs it"
    # Chromium has no sandbox as a container's root; only the project's own pages are opened.
    browser = kind.launch(executable_path=path, args=["--no-sandbox", *words])
    yield browser
    browser.close()


OWNER_AWAY = "net::ERR_"
"""What a browser's report of a failed load holds when the owner, or the way to it, is gone."""


@contextmanager
def watched(browser: Browser, address: str, expected: Iterable[str] = (), **options: Any) -> Iterator[BrowserContext]:
    """A browser that must see no error and no other host; motion is reduced, to save time.

    Args:
        expected: what the loads that must fail are known by: a status ("status of 422") or `OWNER_AWAY`.  Read at the end,
            so that a test can add to it under way.
    """
    context = browser.new_context(**({"reduced_motion": "reduce", "viewport": SCREEN} | options))
    context.set_default_timeout(PATIENCE_MS)
    troubles: list[str] = []
    context.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
    requested: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    yield context
    context.close()
    check_troubles(troubles, set(expected))
    assert requested
    assert all(url.startswith((address, "data:", "blob:")) for url in requested)


def check_troubles(troubles: Sequence[str], expected: Collection[str]) -> None:
    """Fail for what a browser reported, but for the failed loads that are expected; fail for those expected in vain."""
    # The browser itself reports an owner that is away or refuses; where a test brings that about, it is no fault of the page.
    assert not [text for text in troubles if not any(load in text for load in expected)]
    assert not [load for load in expected if not any(load in text for text in troubles)], (
        "expected, and not seen to fail"
    )


def enter(context: BrowserContext, owner: PlayedOwner, language: str = "de", query: str = "") -> Page:
    """Open a tab, choose a language and pass the consent text."""
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
    """Send a prompt and wait until the page shows this number of complete answers."""
    page.locator("#prompt").fill(prompt)
    page.keyboard.press("Enter")
    expect(page.locator(".exchange")).to_have_count(answers)
    settled(page)


def settled(page: Page) -> None:
    """Wait until no answer is under way and the tokens after the last sentence's end are gone."""
    expect(page.locator("#send")).to_be_enabled()
    expect(page.locator(".token.gone")).to_have_count(0)


def stop_clock(page: Page) -> None:
    """From a second from now on time passes for the page only by `pass_time`; its context's clock must have been installed."""
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)


def pass_time(page: Page, seconds: float) -> None:
    """Let time pass at once for a page whose clock is stopped; a timer that falls due runs once, however often it would have."""
    page.clock.fast_forward(int(1000 * seconds))


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    descriptions: list[str] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations.flatMap(one => "
        "one.nodes.map(node => `${one.id}: ${node.target} ${node.failureSummary}`)))"
    )
    return descriptions
