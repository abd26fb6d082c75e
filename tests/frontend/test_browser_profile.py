"""What is left of a visit in a browser's profile on the disk when browser and run have ended: no word of the visitor.

Chromium keeps its profile, its disk cache included, in a folder of the test's.  The owner sends nothing compressed, so a
word that the cache holds stands there as it is.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.frontend.visiting import PATIENCE_MS, begin, say
from tests.owner.played_owner import PlayedOwner

pytestmark = pytest.mark.process

WORD = "Xylophonquappenwald"
"""The visitor's; no page has it."""

ANSWER_WORD = "Zinnoberstachel"
"""In the model's answer."""


def files_with(word: str, folder: Path) -> list[str]:
    """The files below the folder that hold the word, in UTF-8 or as Chromium's UTF-16, relative to it."""
    forms = (word.encode(), word.encode("utf-16-le"))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [str(path.relative_to(folder)) for path in files if any(form in path.read_bytes() for form in forms)]


def test_a_visit_leaves_no_word_in_the_browsers_profile(owner: PlayedOwner, tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "chromium is missing; ./run_tests.sh installs it"
    owner.cluster.behave(words=["Ein ", f"{ANSWER_WORD} ", "ist ", "ein ", "Haus", ". "])
    profile = tmp_path / "profile"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=["--no-sandbox"], reduced_motion="reduce"
        )
        page = browser.new_page()
        page.goto(f"{owner.address}/")
        begin(page)
        say(page, f"Was ist ein {WORD}?", answers=1)
        # The page asks for its conversation again, by `GET /station`: the answer that a cache would keep.
        with page.expect_response(lambda response: "/station" in response.url) as conversation:
            page.reload()
        assert WORD in conversation.value.text() and ANSWER_WORD in conversation.value.text()
        expect(page.locator(".exchange")).to_have_count(1)
        page.goto(f"{owner.address}/desk")  # leaving the page lets the browser write down what it keeps of it
        page.goto("about:blank")
        browser.close()
    owner.end()
    assert files_with(owner.address, profile / "Default" / "Cache"), "the cache is on the disk, and it is read here"
    assert files_with(WORD, profile) == []
    assert files_with(ANSWER_WORD, profile) == []
