"""The events of a run as pictures of the stage, drawn frame by frame at a clock of the test's own, before, at and after each.

    env/bin/python -m tests.frontend.stage_events FOLDER [--tier high] [--size 1920x1080]

takes them all into a folder, to be looked at, and prints by how much they differ.  `test_stage_events.py` holds the figures.
"""

from __future__ import annotations

import argparse
import io
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.frontend.stage_pictures import LIVELY, SOFTWARE, feed, say, state, training
from tests.owner.played_owner import played_owner

ALONE = """
(() => {
  let next = null, now = 1000;
  window.requestAnimationFrame = (callback) => { next = callback; return 1; };
  window.cancelAnimationFrame = () => { next = null; };
  window.frames = {
    // Draws so many seconds, frame after frame, as a projector would.
    draw: (seconds, each = 0.1) => {
      for (let left = seconds; left > 1e-6; left -= each) {
        now += 1000 * Math.min(each, left);
        const callback = next;
        next = null;
        callback?.(now);
      }
    },
  };
  window.EventSource = class extends EventTarget { close() {} };
  let seed = 1;
  Math.random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
})()
"""
"""The same pictures every time, however busy the machine.

Frames are drawn when the test says so: what lies between two pictures is the test's own time.  The owner is not heard, which would
say every few seconds that no run is alive.  Chance is a series (Lehmer's, with the multiplier and modulus of C++'s minstd_rand).
"""

FRAME = 0.5
"""Seconds between two frames that are drawn; animations are functions of time, so few frames show the same as many."""

MOMENTS = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Seconds after an event at which a picture is taken."""


@dataclass(frozen=True)
class Event:
    """An event: what the owner tells when it comes, and the moments of its pictures, in seconds after it."""

    happen: Callable[[Page], None]
    moments: Sequence[float] = MOMENTS


def _begin(page: Page) -> None:
    feed(page, "run_started", {"run": "played", "language": "de"})
    feed(page, "state", state(-1, "running"))


def _swap(page: Page) -> None:
    feed(page, "swap", {"iteration": 3, "swap_seconds": 0.1, "held_seconds": 0.0})
    feed(page, "state", state(3, "running"))


def _last_words(page: Page) -> None:
    feed(page, "state", state(3, "last_words"))
    feed(page, "last_words", {"run": "played", "language": "de"})


def _fall_silent(page: Page) -> None:
    feed(page, "typing", {"station": "s", "status": "stopped"})
    page.evaluate("window.stage.pass(32)")


EVENTS = {
    "birth": Event(_begin),
    "round": Event(lambda page: feed(page, "round", training(3, 1, 2.4))),
    "swap": Event(_swap),
    "last words": Event(_last_words, moments=(1.0, 2.0, 3.0, 4.0, 6.0)),
    # It comes by itself: what happens is that nobody says or types anything any more.
    "silence": Event(_fall_silent, moments=(1.0, 2.5, 4.0, 5.5, 7.0)),
}


def prepare(page: Page) -> None:
    """A language in the middle of its life, of which much was said; every word stands, and somebody is typing."""
    random.seed(1)  # the order of the sentences
    feed(page, "state", state(2, "running"))
    say(page, LIVELY, 260, 0.55, 1.9, 2)
    page.evaluate("window.stage.pass(14)")
    feed(page, "typing", {"station": "s", "status": "typing"})
    page.evaluate("window.stage.pass(6)")
    draw(page, 1.0)


def draw(page: Page, seconds: float) -> None:
    page.evaluate("([seconds, each]) => window.frames.draw(seconds, each)", [seconds, FRAME])


def picture(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def difference(before: Image.Image, after: Image.Image) -> float:
    """The mean over pixels and colours of how far two pictures differ, 0 to 255."""
    return float(np.abs(np.asarray(before, dtype=float) - np.asarray(after, dtype=float)).mean())


def pictures(page: Page, moments: Sequence[float]) -> list[Image.Image]:
    """The stage at these moments from now."""
    taken, passed = [], 0.0
    for moment in moments:
        draw(page, moment - passed)
        passed = moment
        taken.append(picture(page))
    return taken


def greatest_change(before: Image.Image, taken: Sequence[Image.Image]) -> float:
    """The most that a picture differs from the one before the event."""
    return max(difference(before, shot) for shot in taken)


def main() -> None:
    """Take all pictures, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tier", default="high")
    parser.add_argument("--size", default="1920x1080")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, played_owner(Path(folder)) as owner, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=SOFTWARE)
        for name, event in EVENTS.items():
            page = browser.new_page(viewport={"width": width, "height": height}, reduced_motion="no-preference")
            page.add_init_script(ALONE)
            page.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&mute=1&tier={arguments.tier}")
            page.locator("main[data-drawing=true]").wait_for(timeout=60_000)
            prepare(page)
            start = picture(page)
            quiet = pictures(page, event.moments)
            event.happen(page)
            taken = pictures(page, event.moments)
            for number, shot in enumerate([start, *quiet, *taken]):
                shot.save(arguments.folder / f"{name.replace(' ', '-')}-{number:02}.png")
            print(
                name,
                f"quiet {greatest_change(start, quiet):.2f}, event {greatest_change(quiet[-1], taken):.2f}",
                [round(difference(quiet[-1], shot), 2) for shot in taken],
                flush=True,
            )
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
