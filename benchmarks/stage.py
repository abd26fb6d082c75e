"""The stage's cost over ten minutes of a run: processor time and draw calls per frame, letters, memory.

    env/bin/python -m benchmarks.stage [--minutes 10] [--tier low] [--gpu]

A scripted run is played in real time: answers from two stations, a round every minute, its swap.  Without --gpu the
browser renders in software: the time between frames then says nothing about a projector, but the page's own processor
time, draw calls and memory do.  Bound by the browser's rendering.  Prints a table, and one line of JSON last.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.frontend.stage_pictures import DYING, FEED, LIVELY, MIDDLE, ROUNDS, SOFTWARE, feed, state, training
from tests.owner.played_owner import played_owner


def main() -> None:
    """Open the stage, play a run, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tier", default="low", choices=("low", "middle", "high", "ultra"))
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--gpu", action="store_true", help="draw with the graphics card")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder, played_owner(Path(folder)) as owner, sync_playwright() as play:
        flags = ["--no-sandbox"] if arguments.gpu else SOFTWARE
        # Without it Chromium tells 10 MB, whatever is used.
        flags = [*flags, "--enable-precise-memory-info"]
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&mute=1&tier={arguments.tier}")
        page.locator("main[data-drawing=true]").wait_for(timeout=120_000)
        samples = live(page, arguments.minutes * 60)
        browser.close()
    first, last = samples[min(2, len(samples) - 1)], samples[-1]
    summary = {
        "card": last["card"],
        "tier": last["tier"],
        "frames": last["frames"],
        "cpu_ms": round(sum(sample["cpu_ms"] for sample in samples) / len(samples), 2),
        "frame_ms": round(sum(sample["frame_ms"] for sample in samples) / len(samples), 1),
        "calls_most": max(sample["calls"] for sample in samples),
        "letters_most": max(sample["instances"] for sample in samples),
        "heap_mb_early": round(first["heap"] / 1e6, 1),
        "heap_mb_late": round(last["heap"] / 1e6, 1),
    }
    print(json.dumps(summary))


def live(page: Page, seconds: float) -> list[dict[str, Any]]:
    """Play a run of `seconds` seconds; returns the page's figures at every tenth of it."""
    print(
        f"{'second':>7} {'iteration':>9} {'cpu ms':>7} {'most':>7} {'frame ms':>9} {'calls':>6} {'letters':>8} {'MB':>6}"
    )
    began, samples = time.monotonic(), []
    shown = -1
    while (passed := time.monotonic() - began) < seconds:
        share = passed / seconds
        iteration = min(ROUNDS - 1, int(share * (ROUNDS + 1)) - 1)
        within = share * (ROUNDS + 1) % 1.0
        feed(page, "state", state(iteration, "last_words" if iteration == ROUNDS - 1 else "running"))
        if iteration < ROUNDS - 1 and within > 0.4:
            feed(page, "round", training(iteration + 1, 1 + int((within - 0.4) * 6), 3.0 - 0.3 * iteration))
        text = LIVELY if share < 0.35 else MIDDLE if share < 0.75 else DYING
        for station in ("one", "two"):
            page.evaluate(FEED, [text[:300], 0.5 + 0.45 * share, 2.0 - 1.8 * share, iteration, station])
        page.wait_for_timeout(min(6000, seconds * 100))
        if int(share * 10) > shown:
            shown = int(share * 10)
            page.request_gc()
            figures = dict(page.evaluate("window.stageFigures()"))
            samples.append(figures)
            print(
                f"{passed:7.0f} {iteration:9} {figures['cpu_ms']:7.2f} {figures['cpu_ms_most']:7.1f} "
                f"{figures['frame_ms']:9.1f} {figures['calls']:6} {figures['instances']:8} {figures['heap'] / 1e6:6.1f}",
                flush=True,
            )
    return samples


if __name__ == "__main__":
    main()
