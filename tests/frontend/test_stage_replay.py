"""The stage plays the recording that ships: its headline is read from five metres while the language lives, and not at its end."""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from tests.frontend.stage_events import ALONE
from tests.frontend.stage_projector import figures, wait_for
from tests.owner.played_owner import PlayedOwner
from wmkml.config.paths import SHIPPED_STAGE

pytestmark = pytest.mark.process

RECORDING = SHIPPED_STAGE / "recordings" / "understudy.jsonl.gz"
MOST_BYTES = 300_000
FAR = (384, 216)
"""A projection of 1920×1080 as from five metres, in pixels."""

LEAST_SIZE, LEAST_CONTRAST = 15, 7.0
"""From there: a letter's em in pixels, of which a small letter has half; and what WCAG 2 calls enhanced contrast."""

MOMENTS = 4
"""At which the headline is looked at."""

LIKENESS = """async ([screenshot, letters, width, height]) => {
    const grey = (context) => {
        const {data} = context.getImageData(0, 0, width, height);
        return Array.from({length: width * height}, (_, at) => data[4 * at] + data[4 * at + 1] + data[4 * at + 2]);
    };
    const canvas = () => Object.assign(document.createElement('canvas'), {width, height}).getContext('2d');
    const picture = new Image();
    picture.src = screenshot;
    await picture.decode();
    const seen = canvas();
    seen.imageSmoothingQuality = 'high';
    seen.drawImage(picture, 0, 0, width, height);
    const plain = canvas();
    plain.fillRect(0, 0, width, height);
    plain.fillStyle = '#fff';
    const scale = width / innerWidth;
    const family = document.querySelector('main').style.getPropertyValue('--letters');
    for (const {piece, x, y, size} of letters) {
        plain.font = `560 ${size * scale}px ${family}`;
        plain.fillText(piece, x * scale, (y + 0.3 * size) * scale);
    }
    const tops = letters.map(({y, size}) => (y - 0.7 * size) * scale), bottoms = letters.map(({y, size}) => (y + 0.6 * size) * scale);
    const rows = [Math.max(0, Math.floor(Math.min(...tops))), Math.min(height, Math.ceil(Math.max(...bottoms)))];
    const right = Math.min(width, Math.ceil(Math.max(...letters.map(({x, size}) => (x + size) * scale))));
    const band = (values) => values.filter((_, at) => at >= rows[0] * width && at < rows[1] * width && at % width < right);
    const centred = (values) => {
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        return values.map((value) => value - mean);
    };
    const [one, other] = [centred(band(grey(seen))), centred(band(grey(plain)))];
    const product = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);
    return product(one, other) / Math.sqrt(product(one, one) * product(other, other));
}"""
"""How like the headline, as it is seen from afar, is to the same letters drawn plainly: the correlation of the pictures, 1 at most."""


def play(context: BrowserContext, owner: PlayedOwner, query: str) -> Page:
    """The stage with the shipped recording, of which a run lives; frames are drawn, and time passes, by the test alone."""
    page = context.new_page()
    page.add_init_script(ALONE)
    page.set_viewport_size({"width": 960, "height": 540})
    page.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&tier=low&mute=1&replay=understudy&{query}")
    expect(page.locator("main[data-drawing=true]")).to_be_visible()
    wait_for(page, "(window.frames.draw(0.1, 0.1), figures.measures.iteration !== null)")
    return page


def speak_on(page: Page) -> None:
    """Let the recording go on until there is a headline, and draw it at the test's own clock: letters take time to appear."""
    page.evaluate("window.stage.pass(1)")
    for _ in range(80):
        if len(figures(page)["headline"]) >= 24:
            break
        page.evaluate("window.stage.pass(0.5)")
    page.evaluate("window.frames.draw(0.3, 0.1)")
    assert figures(page)["headline"], "somebody speaks"


def pass_and_draw(page: Page, seconds: float) -> None:
    """Let so much time pass at the test's own clock, and draw what has come of it."""
    page.evaluate(f"window.stage.pass({seconds})")
    page.evaluate("window.frames.draw(0.1, 0.1)")


@dataclass(frozen=True)
class Headline:
    """The headline as it is seen from afar.

    Attributes:
        likeness: how well it is read.
        size: of its letters (em), in pixels.
        contrast: of its strokes to what is behind them, 1 to 21, as WCAG 2 has it.
    """

    likeness: float
    size: float
    contrast: float


def headline(page: Page) -> Headline:
    """The headline at the best of some moments: words that have just come are not there yet, and the oldest row leaves."""
    return max((_headline_now(page) for _ in range(MOMENTS)), key=lambda seen: seen.likeness)


def _headline_now(page: Page) -> Headline:
    speak_on(page)
    shot = page.screenshot()
    letters: list[dict[str, Any]] = figures(page)["headline"]
    data = f"data:image/png;base64,{base64.b64encode(shot).decode()}"
    likeness = float(page.evaluate(LIKENESS, [data, letters, *FAR]))
    whole = Image.open(io.BytesIO(shot)).convert("RGB")
    scale = FAR[0] / whole.width
    seen = np.asarray(whole.resize(FAR, Image.Resampling.LANCZOS), dtype=float) / 255
    # The letters of one row alone: between rows there is nothing to tell from the ground.
    row = max(letters, key=lambda letter: letter["x"])["y"]
    of_row = [letter for letter in letters if abs(letter["y"] - row) < 1]
    size = float(of_row[0]["size"]) * scale
    top, bottom = round(row * scale - 0.45 * size), round(row * scale + 0.3 * size)
    right = round(max(letter["x"] for letter in of_row) * scale + 0.5 * size)
    linear = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
    luminance = (linear @ [0.2126, 0.7152, 0.0722])[top:bottom, round(of_row[0]["x"] * scale) : right]
    stroke, ground = np.quantile(luminance, 0.95), np.quantile(luminance, 0.1)
    return Headline(likeness, size, float((stroke + 0.05) / (ground + 0.05)))


def test_the_headline_is_read_from_afar_until_it_dies(projector: BrowserContext, owner: PlayedOwner) -> None:
    alive = play(projector, owner, "at=-0.5&speed=1")
    expect(alive.locator("#state")).to_contain_text("noch unberührt")
    living = headline(alive)
    targets = figures(alive)["targets"]
    alive.close()
    dying = play(projector, owner, "at=7.02&speed=1")
    expect(dying.locator("#state")).to_contain_text("Iteration 7")
    dead = headline(dying)
    assert living.likeness > 0.7, (living, dead)
    assert dead.likeness < 0.35, (living, dead)
    assert living.size >= LEAST_SIZE and living.contrast >= LEAST_CONTRAST, living
    # It is what was measured that made it so, by the mapping.
    assert targets["legible"] > 0.95 > 0.3 > figures(dying)["targets"]["legible"]


def test_a_recording_plays_at_its_speed_and_begins_again(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = play(projector, owner, "at=5&speed=20&scene=map")
    assert (figures(page)["targets"]["map"], figures(page)["targets"]["body"]) == (1, 0)
    expect(page.locator("#state")).to_contain_text("Iteration 5")
    pass_and_draw(page, 4)
    assert figures(page)["spoken"] > 100
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    swaps = {data["iteration"]: second for second, name, data in events if name == "swap"}
    pass_and_draw(page, (swaps[6] - swaps[5]) / 20)
    expect(page.locator("#state")).to_contain_text("Iteration 6")
    pass_and_draw(page, (events[-1][0] - swaps[6]) / 20 + 13)
    expect(page.locator("#state")).to_contain_text("Iteration 5")


def test_the_recording_is_a_whole_life() -> None:
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    assert [data["iteration"] for _, name, data in events if name == "swap"] == list(range(8))
    assert events[0][1] == "run_started"
    assert [name for _, name, _ in events if name in ("last_words", "run_end")] == ["last_words", "run_end"]
    # What the stage follows beside words is in it: the life as it was measured, from birth to collapse.
    lives = [data["life"] for _, name, data in events if name == "life"]
    assert lives[0] > 0.7 and lives[-1] < 0.1 and lives == sorted(lives, reverse=True)
    assert {"rolling", "typing", "round"} <= {name for _, name, _ in events}


def test_a_recording_needs_the_key_and_holds_nobodys_words(owner: PlayedOwner) -> None:
    content = RECORDING.read_bytes()
    assert len(content) < MOST_BYTES
    for line in gzip.decompress(content).decode("utf-8").splitlines():
        _, name, data = json.loads(line)
        if name in ("prompt", "start", "token", "response"):
            assert data["station"].startswith("rehearsal-")
    with httpx.Client(verify=False, base_url=owner.address) as client:
        assert client.get("/stage/recordings/understudy").status_code == 401
        key = {"X-Key": owner.cluster.keys.stage}
        reply = client.get("/stage/recordings/understudy", headers=key)
        assert (reply.status_code, reply.content) == (200, content)
        # The last two are names that no file can have.
        for name in ("nothing", "..%2F..%2Fmapping", "%2Fetc%2Fpasswd", "a" * 300, "%00"):
            assert client.get(f"/stage/recordings/{name}", headers=key).status_code == 404


def test_a_recording_that_is_not_there_is_named(
    projector: BrowserContext, owner: PlayedOwner, failing_loads: set[str]
) -> None:
    failing_loads.add("status of 404")
    page = projector.new_page()
    page.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&tier=low&mute=1&replay=nothing")
    expect(page.locator("#problems")).to_contain_text('no recording "nothing"')
