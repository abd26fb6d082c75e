"""Takes the README's pictures of the three pages: the real services, a whole run of the understudy, real browsers.

    env/bin/python -m tests.exhibition_pictures docs/pictures [--interval 40]

Nothing in them is written for a picture but what one visitor asks; four others ask what visitors might, all the time.  Takes a
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

from tests.processes import Processes, processes
from tests.stage_pictures import SOFTWARE
from tests.visiting import begin, chromium, say
from wmkml.cluster.arguments import PROJECT
from wmkml.config import UNDERSTUDY, load_settings
from wmkml.pin import load_pin
from wmkml.understudy.reach import visitors

QUESTIONS = ("Was ist eine Sprache?", "Wo lebt der Wal?", "Erinnerst du dich an mich?")
MOMENTS = {"early": -1, "middle": 3, "late": 7}
"""What is pictured, and which iteration must answer."""

OTHERS = 4
PAUSE_SECONDS = 2.0
PATIENCE_MS = 600_000.0
WIDTH, GAP, COLOURS = 760, 12, 200
"""Of a picture of three: pixels of each, pixels between them, and colours that are kept."""


def main() -> None:
    """Live through a run and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--interval", type=float, default=40.0, help="seconds that an iteration answers, at least")
    arguments = parser.parse_args()
    ours = load_settings(PROJECT / "config.yaml", model=UNDERSTUDY)
    overrides = {
        # As the understudy's arc is tuned, at a quicker pace.
        "finetuning.num_total_iters": ours.finetuning.num_total_iters,
        "finetuning.samples_by_iteration": ours.finetuning.samples_by_iteration,
        "finetuning.live_samples_by_iteration": ours.finetuning.live_samples_by_iteration,
        "finetuning.sample_increase_by_iteration": ours.finetuning.sample_increase_by_iteration,
        "inference.num_generated_responses": ours.inference.num_generated_responses,
        "inference.max_tokens": ours.inference.max_tokens,
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
                beside([shots / f"{page}-{moment}.png" for moment in MOMENTS], arguments.folder / f"{page}.png")
            desks = [shots / f"desk-{moment}.png" for moment in ("door", "middle", "trouble")]
            beside(desks, arguments.folder / "desk.png")


def live(browser: Browser, cluster: Processes, shots: Path) -> None:
    """Choose German, ask, and take every page's picture at each moment."""
    visitor = opened(browser, cluster.owner + "/", 1280, 800)
    stage = opened(browser, f"{cluster.owner}/stage?key={cluster.keys.stage}&tier=middle&mute=1", 1280, 800)
    desk = opened(browser, cluster.owner + "/desk", 1280, 1250)
    expect(desk.get_by_label("PIN")).to_be_visible()
    desk.screenshot(path=shots / "desk-door.png")
    desk.get_by_label("PIN").fill(load_pin(cluster.places))
    desk.keyboard.press("Enter")
    begin(visitor, "de")
    over = threading.Event()
    talking = [threading.Thread(target=talk, args=(cluster, f"other-{one}", over)) for one in range(OTHERS)]
    for one in talking:
        one.start()
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
        for one in talking:
            one.join()


def opened(browser: Browser, address: str, width: int, height: int) -> Page:
    """A page in a browser of its own."""
    context = browser.new_context(viewport={"width": width, "height": height}, locale="de-DE")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(address)
    return page


def talk(cluster: Processes, station: str, over: threading.Event) -> None:
    """Ask one thing after another, until it is over."""
    prompts = [one.prompt for one in visitors(PROJECT / "tests" / "fixtures" / "visitors.yaml") if one.language == "de"]
    chance = random.Random(station)
    with httpx.Client(base_url=cluster.owner, timeout=300) as owner:
        while not over.wait(PAUSE_SECONDS):
            body = {"prompt": chance.choice(prompts), "station": station, "language": "de"}
            if not owner.post("/chat", json=body).is_success:
                over.wait(5 * PAUSE_SECONDS)


def beside(files: list[Path], into: Path) -> None:
    """One picture of several, small enough for a repository."""
    pictures = [Image.open(file).convert("RGB") for file in files]
    pictures = [
        one.resize((WIDTH, round(one.height * WIDTH / one.width)), Image.Resampling.LANCZOS) for one in pictures
    ]
    whole = Image.new(
        "RGB", (WIDTH * len(pictures) + GAP * (len(pictures) - 1), max(one.height for one in pictures)), "white"
    )
    for place, one in enumerate(pictures):
        whole.paste(one, (place * (WIDTH + GAP), 0))
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(into, optimize=True)
    print(into, f"{into.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
