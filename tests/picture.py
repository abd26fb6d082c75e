"""Takes the README's picture of the page: the real services, a real run of the understudy, a real browser.

    env/bin/python -m tests.picture docs/pictures/page.png [--engine vllm]

Nothing in it is written for the picture but the questions.  Needs playwright and Debian's chromium, as the page's tests do.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

from tests.processes import Processes, processes

QUESTIONS = {
    -1: "Was ist eine Sprache?",
    1: "Was ist ein Haus?",
    3: "Was ist eine Sprache?",
    4: "Erinnerst du dich an mich?",
}
"""What is asked once this iteration answers."""


def main() -> None:
    """Start everything, live through some rounds, take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--engine", default="transformers")
    arguments = parser.parse_args()
    overrides = {
        "finetuning.num_total_iters": 8,
        "finetuning.samples_by_iteration": 60,
        "finetuning.live_samples_by_iteration": 40,
        "finetuning.minimum_iteration_time": 8.0,
        "inference.num_generated_responses": 6,
        "inference.max_tokens": 64,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        processes(Path(folder), overrides, engine=arguments.engine) as cluster,
    ):
        for name in ("owner", "inference", "worker"):
            cluster.start(name)
        cluster.wait_until_ready()
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1100, "height": 720}, locale="de-DE")
            live(page, cluster)
            page.screenshot(path=arguments.picture)
            browser.close()


def live(page: Page, cluster: Processes) -> None:
    """Choose German, and ask each question when its iteration answers; others talk meanwhile."""
    page.goto(cluster.owner)
    page.locator("button[data-language=de]").click()
    page.locator("#begin").click()
    page.locator("#prompt").wait_for()
    for iteration, question in QUESTIONS.items():
        cluster.wait_for(lambda wanted=iteration: cluster.state()["iteration"] >= wanted, f"iteration {iteration}", 600)
        threading.Thread(target=talk, args=(cluster,), daemon=True).start()
        page.locator("#prompt").fill(question)
        page.locator("#send").click()
        page.locator("#prompt:not([disabled])").wait_for(timeout=60_000)
        page.wait_for_timeout(6000)


def talk(cluster: Processes) -> None:
    """Somebody at another station."""
    for prompt in ("Was ist ein Fluss?", "Wie klingt der Wald?", "Was ist eine Mutter?", "Was macht die Katze?"):
        httpx.post(f"{cluster.owner}/chat", json={"prompt": prompt, "station": "other"}, timeout=120)


if __name__ == "__main__":
    main()
