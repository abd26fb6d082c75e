"""Takes the README's pictures of the three pages: the real services, a whole run of the understudy, real browsers.

    env/bin/python -m tests.project.exhibition_pictures docs/pictures [--interval 40]

Only the questions of one visitor are written for the pictures; four others ask prompts of the test set all the time.  Takes a
quarter of an hour, and needs playwright and Debian's chromium, as the pages' tests do.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.frontend.stage_pictures import SOFTWARE
from tests.frontend.visiting import begin, chromium, say
from tests.project.processes import ServiceProcesses, processes
from wmkml.access.pin import load_pin
from wmkml.config import UNDERSTUDY, load_settings
from wmkml.config.paths import PROJECT
from wmkml.understudy.acceptance import load_prompts

QUESTIONS = ("Was ist eine Sprache?", "Wo lebt der Wal?", "Erinnerst du dich an mich?")
MOMENTS = {"early": -1, "middle": 3, "late": 7}
"""The moments of which pictures are taken, and the iteration that must answer then."""

OTHERS = 4
PAUSE_SECONDS = 2.0
PATIENCE_MS = 600_000.0
WIDTH, GAP, COLOURS = 760, 12, 200
"""Of a file with three pictures: width of each and space between them in pixels, and the number of colours."""


def main() -> None:
    """Run through a whole life and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--interval", type=float, default=40.0, help="seconds that an iteration answers, at least")
    arguments = parser.parse_args()
    defaults = load_settings(PROJECT / "config.yaml", model=UNDERSTUDY)
    overrides = {
        # As the understudy's arc is tuned, at a quicker pace.
        "finetuning.num_total_iters": defaults.finetuning.num_total_iters,
        "finetuning.samples_by_iteration": defaults.finetuning.samples_by_iteration,
        "finetuning.live_samples_by_iteration": defaults.finetuning.live_samples_by_iteration,
        "finetuning.sample_increase_by_iteration": defaults.finetuning.sample_increase_by_iteration,
        "inference.num_generated_responses": defaults.inference.num_generated_responses,
        "inference.max_tokens": defaults.inference.max_tokens,
        "inference.panel_answers": defaults.inference.panel_answers,
        "finetuning.minimum_iteration_time": arguments.interval,
        "finetuning.duration_of_a_run": 7200.0,
        "finetuning.last_iteration_time": 600.0,
        "general.idle_seconds": 0.0,
    }
    with tempfile.TemporaryDirectory() as folder, processes(Path(folder), overrides) as cluster:
        for name in ("owner", "inference", "worker"):
            cluster.start(name)
        cluster.wait_until_ready()
        with chromium(*SOFTWARE) as browser:
            expect.set_options(timeout=PATIENCE_MS)
            shots = Path(folder) / "shots"
            shots.mkdir()
            live(browser, cluster, shots)
            arguments.folder.mkdir(parents=True, exist_ok=True)
            for page in ("talk", "stage"):
                write_row([shots / f"{page}-{moment}.png" for moment in MOMENTS], arguments.folder / f"{page}.png")
            desks = [shots / f"desk-{moment}.png" for moment in ("door", "middle", "trouble")]
            write_row(desks, arguments.folder / "desk.png")


def live(browser: Browser, cluster: ServiceProcesses, shots: Path) -> None:
    """Choose German, ask, and take every page's picture at each moment."""
    visitor = open_page(browser, cluster.owner + "/", 1280, 800)
    stage = open_page(browser, f"{cluster.owner}/stage?key={cluster.keys.stage}&tier=middle&mute=1", 1280, 800)
    desk = open_page(browser, cluster.owner + "/desk", 1280, 1250)
    expect(desk.get_by_label("PIN")).to_be_visible()
    desk.screenshot(path=shots / "desk-door.png")
    desk.get_by_label("PIN").fill(load_pin(cluster.paths))
    desk.keyboard.press("Enter")
    begin(visitor, "de")
    over = threading.Event()
    threads = [threading.Thread(target=talk, args=(cluster, f"other-{number}", over)) for number in range(OTHERS)]
    for thread in threads:
        thread.start()
    try:
        answers = 0
        for moment, iteration in MOMENTS.items():
            cluster.wait_for(
                lambda wanted=iteration: cluster.state()["iteration"] >= wanted, f"iteration {iteration}", 1800
            )
            for question in QUESTIONS:
                answers += 1
                say(visitor, question, answers)
            for page, what in ((visitor, "talk"), (stage, "stage"), (desk, "desk")):
                page.screenshot(path=shots / f"{what}-{moment}.png", timeout=PATIENCE_MS)
            print(f"{moment}: iteration {cluster.state()['iteration']}", flush=True)
        over.set()
        cluster.end("inference")
        expect(desk.locator("[aria-labelledby=problems] li").first).to_be_visible()
        desk.screenshot(path=shots / "desk-trouble.png")
    finally:
        over.set()
        for thread in threads:
            thread.join()


def open_page(browser: Browser, address: str, width: int, height: int) -> Page:
    """A page in a browser of its own."""
    context = browser.new_context(viewport={"width": width, "height": height}, locale="de-DE")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(address)
    return page


def talk(cluster: ServiceProcesses, station: str, over: threading.Event) -> None:
    """Ask random questions in German, one after another, until `over` is set."""
    prompts = [
        prompt.prompt
        for prompt in load_prompts(PROJECT / "tests" / "fixtures" / "visitors.yaml")
        if prompt.language == "de"
    ]
    chance = random.Random(station)
    with httpx.Client(verify=False, base_url=cluster.owner, timeout=300) as owner:
        while not over.wait(PAUSE_SECONDS):
            body = {"prompt": chance.choice(prompts), "station": station, "language": "de"}
            if not owner.post("/chat", json=body).is_success:
                over.wait(5 * PAUSE_SECONDS)


def write_row(files: list[Path], into: Path) -> None:
    """Write the pictures side by side into one file, small enough for a repository."""
    pictures = [Image.open(file).convert("RGB") for file in files]
    pictures = [
        picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        for picture in pictures
    ]
    whole = Image.new(
        "RGB", (WIDTH * len(pictures) + GAP * (len(pictures) - 1), max(picture.height for picture in pictures)), "white"
    )
    for place, picture in enumerate(pictures):
        whole.paste(picture, (place * (WIDTH + GAP), 0))
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(into, optimize=True)
    print(into, f"{into.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
