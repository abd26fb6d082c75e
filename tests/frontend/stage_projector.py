"""The projection as the tests of the stage open it, and the figures that it tells of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tests.owner.played_owner import PlayedOwner


def frames_apart(milliseconds: int) -> str:
    """A script by which a page draws a frame at most so often: as many as the processor can draw keep it busy while a stage is open."""
    return f"""
(() => {{
  const request = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (callback) => setTimeout(() => request(callback), {milliseconds});
  window.cancelAnimationFrame = clearTimeout;
}})()
"""


FEW_FRAMES = frames_apart(200)

PATIENCE = 120_000.0
"""Milliseconds; drawing in software takes about a second for each frame."""


def stage_folder(owner: PlayedOwner) -> Path:
    return owner.cluster.paths.stage


def show(context: BrowserContext, owner: PlayedOwner, query: str = "mute=1") -> Page:
    """The stage, opened with its key."""
    page = context.new_page()
    page.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&tier=low&{query}")
    expect(page.locator("main[data-drawing=true]")).to_be_visible()
    return page


def figures(page: Page) -> dict[str, Any]:
    return dict(page.evaluate("window.stageFigures()"))


def wait_for(page: Page, condition: str) -> None:
    """Wait until an expression over `figures` is true.  (The page's policy forbids waiting by a string in the page.)"""
    for _ in range(int(PATIENCE / 50)):
        if page.evaluate(f"(() => {{ const figures = window.stageFigures(); return {condition}; }})()"):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"in vain: {condition}; {figures(page)}")
