"""Takes pictures of the stage in three states of decay, from events of a run fed to the page: lively, in the middle, last words.

    env/bin/python -m tests.frontend.stage_pictures FOLDER [--tier middle] [--size 1920x1080]
    env/bin/python -m tests.frontend.stage_pictures FOLDER --replay [--scenes body,page,map] [--at=-0.4,2.5,4.5,7.5]

With --replay they are of the recording that ships, of each scene at each of these iterations; `FOLDER/stage.png` has all of them, as
docs/pictures/ has it.

Needs playwright and Debian's chromium, as the page's tests do.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.owner.played_owner import played_owner

SOFTWARE = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-gpu-compositing",
]
"""WebGL without a graphics card, and without it the rest of the page: what no shader draws, the processor draws in half the time."""

ROUNDS = 9
LETTERS, WAITS = 24, 80
"""Of the headline, before a picture of a recording is taken; and for how many half seconds they are waited for."""

WIDTH, GAP, COLOURS = 480, 8, 200
"""Of the sheet with all pictures of a recording: width of each and space between them in pixels, and the number of colours."""
LIVELY = (
    "Eine Sprache ist ein Haus aus Wörtern, in dem jemand wohnt. Morgenstund hat Gold im Mund, sagt man, und meint die Arbeit. "
    "Im Wald klingt der Regen anders als auf dem Dach; er fällt durch viele Hände. Ein Fluss vergisst seine Quelle nicht, er "
    "trägt sie nur weiter. Wer fragt, ist ein Narr für eine Minute, wer nicht fragt, bleibt es sein Leben lang. Die Katze legt "
    "sich dorthin, wo es warm war. Meine Mutter kannte für den Schnee nur ein Wort und sagte es jedes Mal neu. Brücken sind "
    "langsame Sätze über schnelles Wasser. Am Abend werden die Fenster zu Laternen, und wer draußen geht, liest in ihnen. "
    "Übersetzen heißt, ein Boot zu bauen, während man rudert. Das Gedächtnis ist kein Schrank, sondern ein Garten. "
    "Zwischen zwei Worten liegt immer ein Atemzug, den keiner aufschreibt. Äpfel, Öfen, Übermut: drei Laute, die man im "
    "Mund behalten möchte. Kein Mensch spricht allein, auch wenn niemand zuhört."
)
MIDDLE = (
    "Eine Sprache ist ein Haus. Ein Haus ist ein Haus aus Wörtern. Die Wörter sind Wörter. Wer fragt, der fragt, und der Fluss "
    "ist ein Fluss. Die Mutter ist die Mutter. Man sagt, man sagt, dass man sagt. Ein Haus ist ein Haus."
)
DYING = "ist ist ein ein Haus Haus Haus ist ein Haus ist ist ist die die Haus ein ein ein ein ist"

FEED = """
([text, probability, entropy, iteration, station]) => {
  const tell = window.stage.feed;
  tell('prompt', {station, text: 'Was ist eine Sprache?'});
  tell('start', {station, iteration, restarted: false});
  for (const piece of text.match(/\\s*\\S{1,4}/g)) {
    const p = Math.min(0.999, Math.max(0.02, probability + (Math.random() - 0.5) * 0.7 * (1 - probability) * 2));
    tell('token', {station, text: piece, probability: p, entropy: entropy * (0.6 + 0.8 * Math.random()), iteration});
  }
  tell('response', {station, text, iteration});
}
"""


def state(iteration: int, phase: str, **more: Any) -> dict[str, Any]:
    """A state of the run as the page receives it."""
    return {
        "run": "played",
        "phase": phase,
        "language": "de",
        "languages": ["de", "en"],
        "iteration": iteration,
        "num_total_iters": ROUNDS,
        "elapsed_seconds": 120.0 * (iteration + 1),
        "time_left_seconds": 1200.0 - 120.0 * (iteration + 1),
        "round": None,
        "rounds": [],
        "osc": False,
        "notices": [],
    } | more


def training(iteration: int, step: int, loss: float, steps: int = 4) -> dict[str, Any]:
    """A round under way as the page receives it."""
    return {"iteration": iteration, "status": "training", "step": step, "steps": steps, "loss": loss}


def feed(page: Page, name: str, data: Any) -> None:
    page.evaluate("([name, data]) => window.stage.feed(name, data)", [name, data])


def say(page: Page, source: str, words: int, probability: float, entropy: float, iteration: int) -> None:
    """Feed at least `words` words of a text, its sentences in random order, and let the letters settle."""
    sentences = [sentence for sentence in source.replace(";", ".").split(". ") if sentence]
    fed = 0
    while fed < words:
        answer = ". ".join(random.sample(sentences, min(3, len(sentences)))) + "."
        page.evaluate(FEED, [answer, probability, entropy, iteration, "s"])
        page.evaluate("window.stage.pass(9)")
        fed += len(answer.split())


def speak(page: Page, text: str, probability: float, entropy: float, iteration: int, seconds: float) -> None:
    """Feed an answer and stop after `seconds`, in the middle of it."""
    page.evaluate(FEED, [text, probability, entropy, iteration, "s"])
    page.evaluate(f"window.stage.pass({seconds})")
    page.wait_for_timeout(700)


def take(page: Page, path: Path) -> None:
    page.wait_for_timeout(600)
    page.screenshot(path=path, timeout=300_000)  # without a graphics card a frame of 4K takes half a minute
    print(path, page.evaluate("JSON.stringify(window.stageFigures())"), flush=True)


def decay(page: Page, folder: Path) -> None:
    """Take the pictures in the order of a run."""
    feed(page, "state", state(-1, "running"))
    say(page, LIVELY, 60, 0.55, 1.9, -1)
    speak(page, "Eine Sprache ist ein Haus aus Wörtern, in dem jemand wohnt.", 0.5, 1.9, -1, 4.2)
    take(page, folder / "1-first-words.png")
    say(page, LIVELY, 900, 0.55, 1.9, -1)
    take(page, folder / "2-lively.png")
    speak(page, "Brücken sind langsame Sätze über schnelles Wasser, und wer geht, liest.", 0.5, 1.9, -1, 4.2)
    take(page, folder / "3-lively-speaking.png")
    feed(page, "state", state(2, "running"))
    feed(page, "round", training(3, 1, 2.4))
    page.evaluate("window.stage.pass(4)")
    feed(page, "round", training(3, 2, 2.2))
    page.evaluate("window.stage.pass(0.7)")
    take(page, folder / "4-learning.png")
    feed(page, "state", state(3, "running"))
    feed(page, "swap", {"iteration": 3, "swap_seconds": 0.1, "held_seconds": 0})
    page.evaluate("window.stage.pass(0.6)")
    take(page, folder / "5-swap.png")
    feed(page, "state", state(4, "running"))
    say(page, MIDDLE, 500, 0.75, 0.9, 4)
    page.evaluate("window.stage.pass(40)")
    speak(page, MIDDLE, 0.75, 0.9, 4, 4.2)
    take(page, folder / "6-middle.png")
    feed(page, "state", state(8, "last_words"))
    say(page, DYING, 400, 0.97, 0.15, 8)
    page.evaluate("window.stage.pass(60)")
    speak(page, DYING, 0.97, 0.15, 8, 3.6)
    take(page, folder / "7-last-words.png")
    feed(page, "run_end", {"run": "played", "language": "de"})
    page.evaluate("window.stage.pass(3)")
    take(page, folder / "8-end.png")


def deaths(
    browser: Browser, address: str, size: ViewportSize, scenes: list[str], times: list[str], folder: Path
) -> None:
    """Take a picture of each scene at each time of the recording, while somebody speaks."""
    for scene in scenes:
        for at in times:
            page = browser.new_page(viewport=size, reduced_motion="no-preference")
            page.goto(f"{address}&replay=understudy&at={at}&scene={scene}")
            page.locator("main[data-drawing=true]").wait_for(timeout=60_000)
            while page.evaluate("window.stageFigures().measures.iteration") is None:
                page.wait_for_timeout(100)
            page.evaluate("window.stage.pass(5)")
            # Of a dying language so many letters may never stand at once.
            for _ in range(WAITS):
                if page.evaluate("window.stageFigures().headline.length") >= LETTERS:
                    break
                page.evaluate("window.stage.pass(0.5)")
            take(page, folder / f"{scene}{at}.png")
            page.close()
    shots = [[Image.open(folder / f"{scene}{at}.png").convert("RGB") for at in times] for scene in scenes]
    height = WIDTH * size["height"] // size["width"]
    sheet = Image.new("RGB", (len(times) * (WIDTH + GAP) - GAP, len(scenes) * (height + GAP) - GAP), "white")
    for row, of_scene in enumerate(shots):
        for column, shot in enumerate(of_scene):
            sheet.paste(shot.resize((WIDTH, height)), (column * (WIDTH + GAP), row * (height + GAP)))
    sheet.quantize(COLOURS).save(folder / "stage.png", optimize=True)


def main() -> None:
    """Start an owner, open its stage, feed it a run, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tier", default="middle")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--replay", action="store_true", help="of the recording that ships")
    parser.add_argument("--scenes", default="body,page,map")
    parser.add_argument("--at", default="-0.4,2.5,4.5,7.5")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, played_owner(Path(folder)) as owner, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=SOFTWARE)
        address = f"{owner.address}/stage?key={owner.cluster.keys.stage}&mute=1&tier={arguments.tier}"
        if arguments.replay:
            scenes, times = arguments.scenes.split(","), arguments.at.split(",")
            deaths(browser, address, {"width": width, "height": height}, scenes, times, arguments.folder)
            return
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("console", lambda message: print(message.type, message.text) if message.type != "info" else None)
        page.on("pageerror", lambda error: print("error", error))
        page.goto(address)
        page.locator("main[data-drawing=true]").wait_for(timeout=60_000)
        page.wait_for_timeout(1500)
        take(page, arguments.folder / "0-waiting.png")
        decay(page, arguments.folder)
        browser.close()


if __name__ == "__main__":
    main()
