"""The browser, the owner and the visitor's context for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.frontend.stage_pictures import SOFTWARE
from tests.frontend.stage_projector import FEW_FRAMES, PATIENCE
from tests.frontend.visiting import chromium, watched
from tests.owner.played_owner import PlayedOwner
from tests.owner.played_owner_fixtures import owner, owner_folder, owner_settings, shared_owner

__all__ = ["owner", "owner_folder", "owner_settings", "shared_owner"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with its ordinary arguments, for all tests of a module."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def failing_loads() -> set[str]:
    """What a test adds the loads to that it makes fail: see `watched`."""
    return set()


@pytest.fixture
def visitor(browser: Browser, owner: PlayedOwner, failing_loads: set[str]) -> Iterator[BrowserContext]:
    """A visitor's browser context, which must see no error and no other host."""
    with watched(browser, owner.address, failing_loads) as context:
        yield context


@pytest.fixture(scope="module")
def webgl_browser() -> Iterator[Browser]:
    """Chromium with WebGL in software, started as in an exhibition: sound needs no click.  It tells its memory as it is."""
    with chromium(*SOFTWARE, "--autoplay-policy=no-user-gesture-required", "--enable-precise-memory-info") as browser:
        expect.set_options(timeout=PATIENCE)
        yield browser


@pytest.fixture
def projector(quick_projector: BrowserContext) -> BrowserContext:
    """A projector's browser, which must see no error and no other host; it draws few frames, to save time."""
    quick_projector.add_init_script(FEW_FRAMES)
    return quick_projector


@pytest.fixture
def quick_projector(webgl_browser: Browser, owner: PlayedOwner, failing_loads: set[str]) -> Iterator[BrowserContext]:
    """A projector's browser that draws as many frames as it can."""
    options: dict[str, Any] = {"viewport": {"width": 320, "height": 180}, "reduced_motion": "no-preference"}
    with watched(webgl_browser, owner.address, failing_loads, **options) as context:
        context.set_default_timeout(PATIENCE)
        yield context
