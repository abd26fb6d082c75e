"""The projection at `/stage` in a real browser (headless Chromium, WebGL in software), against the real owner over real HTTP."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.frontend.stage_events import ALONE
from tests.frontend.stage_pictures import DYING, FEED, LIVELY, ROUNDS, feed, state, training
from tests.frontend.stage_projector import figures, show, stage_folder, wait_for
from tests.frontend.visiting import OWNER_AWAY
from tests.owner.played_owner import PROBABILITIES, WORDS, PlayedOwner
from tests.waiting import until
from wmkml.config.paths import SHIPPED_STAGE
from wmkml.owner.http.stage_access import COOKIE

pytestmark = pytest.mark.process

LETTERS = 3_000
"""Letters that the lowest tier draws at most."""


@pytest.fixture(scope="module")
def owner_folder(owner_folder: Path) -> Path:
    """The folder of the module's owner, with a stage folder of its own."""
    shutil.copytree(SHIPPED_STAGE, owner_folder / "stage")
    return owner_folder


@pytest.fixture
def owner(owner: PlayedOwner) -> PlayedOwner:
    """The module's owner, waiting for a language, with the stage folder as it ships."""
    for name in ("mapping.yaml", "texts.yaml"):
        if (stage_folder(owner) / name).read_bytes() != (SHIPPED_STAGE / name).read_bytes():
            shutil.copyfile(SHIPPED_STAGE / name, stage_folder(owner) / name)
    until(
        lambda: not (runtime := owner.get("/stage/runtime"))["problems"] and not runtime["fonts"],
        "the folder to be as it ships",
    )
    return owner


def test_the_key_opens_it_once_and_leaves_the_address(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    assert page.url == f"{owner.address}/stage?tier=low&mute=1"
    [cookie] = projector.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Strict")
    page.goto(owner.address + "/stage?tier=low&mute=1")
    expect(page.locator("main[data-phase=waiting]")).to_be_visible()
    expect(page.locator("#waiting")).to_contain_text("Eine Sprache wartet")


def test_without_its_key_it_says_what_to_do(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = projector.new_page()
    for address in ("/stage", "/stage?key=wrong"):
        page.goto(owner.address + address)
        expect(page.locator(".closed [lang=de]")).to_contain_text("braucht ihren Schlüssel")
        expect(page.locator(".closed [lang=en]")).to_contain_text("./master_script.sh")
        assert page.url == owner.address + "/stage"
        assert projector.cookies() == []
    with httpx.Client(verify=False, base_url=owner.address) as client:
        assert client.get("/events").status_code == 401
        assert client.get("/events", headers={"Cookie": f"{COOKIE}=wrong"}).status_code == 401
        # The worker's key is none of the stage's, and the operator's is never left in a browser.
        for key in (owner.cluster.keys.worker, owner.cluster.keys.operator):
            reply = client.get("/stage", params={"key": key})
            assert (reply.status_code, reply.headers.get("set-cookie")) == (303, None)
        assert client.post("/operator/stage", json={"blank": True}).status_code == 401


def test_a_life_passes(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    owner.answer_at_once()
    owner.begin("de")
    expect(page.locator("#state")).to_have_text("noch unberührt")
    owner.say("Was ist eine Sprache?", "one")
    wait_for(page, "figures.spoken > 40 && figures.instances > 30")
    assert figures(page)["measures"]["probability"] == pytest.approx(0.63, abs=0.1)
    before = figures(page)["instances"]
    owner.say("<b>Und</b> dann?", "two")
    wait_for(page, f"figures.instances > {before + 30}")
    owner.train()
    expect(page.locator("#state .warm")).to_have_text("lernt aus dem, was gesagt wurde")
    wait_for(page, "figures.measures.learning === 1 && figures.measures.loss > 1")
    owner.hand_in()
    expect(page.locator("main[data-iteration='0']")).to_be_visible()
    expect(page.locator("#state")).to_contain_text("Iteration 0")
    page.evaluate("window.stage.pass(20)")
    wait_for(page, "figures.measures.iteration > 0.3 && figures.targets.colour < 0.95")
    owner.play_round()
    owner.play_round()
    expect(page.locator("#state .warm")).to_have_text("letzte Worte")
    owner.end()
    expect(page.locator("#happening")).to_have_text("Diese Sprache ist zu Ende.")
    page.evaluate("window.stage.pass(9)")
    expect(page.locator("#waiting")).to_be_visible()
    wait_for(page, "figures.instances === 0")
    owner.begin("en")
    expect(page.locator("#state")).to_have_text("still untouched")
    wait_for(page, "figures.targets.colour > 0.95")


def test_it_survives_the_owner(projector: BrowserContext, owner: PlayedOwner, failing_loads: set[str]) -> None:
    failing_loads.add(OWNER_AWAY)
    page = show(projector, owner)
    owner.begin("de")
    owner.kill()
    expect(page.locator("#gone")).to_be_visible()
    owner.start()
    expect(page.locator("#gone")).to_be_hidden()
    owner.say("Noch da?", "one")
    wait_for(page, "figures.spoken > 40")


def test_a_saved_mapping_appears_at_once_and_a_mistake_keeps_it(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    path = stage_folder(owner) / "mapping.yaml"
    shipped = path.read_text(encoding="utf-8")
    line = "{target: tempo, input: iteration, range_in: [0, 1], range_out: [66, 38], seconds: 6}"
    changed = shipped.replace(line, line.replace("66", "99"))
    assert changed != shipped
    path.write_text(changed, encoding="utf-8")
    wait_for(page, "Math.abs(figures.targets.tempo - (99 + 0.5 * 60) / 1.5) < 0.01")
    path.write_text(changed.replace("range_out: [99, 38]", "range_out: [990, 38]"), encoding="utf-8")
    lines = changed.split("\n")
    number = lines.index(next(text_line for text_line in lines if "[99, 38]" in text_line)) + 1
    problem = f"Stage: mapping.yaml, line {number}: mappings"
    expect(page.locator("#problems")).to_contain_text(problem)
    expect(page.locator("#problems")).to_contain_text("tempo goes from 20 to 140")
    assert [notice for notice in owner.get("/state")["notices"] if notice.startswith(problem)]
    wait_for(page, "Math.abs(figures.targets.tempo - (99 + 0.5 * 60) / 1.5) < 0.01")
    path.write_text(shipped, encoding="utf-8")
    expect(page.locator("#problems")).to_have_count(0)
    wait_for(page, "Math.abs(figures.targets.tempo - (66 + 0.5 * 60) / 1.5) < 0.01")
    assert not [notice for notice in owner.get("/state")["notices"] if notice.startswith("Stage:")]


def test_saved_texts_appear_at_once(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    path = stage_folder(owner) / "texts.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("Eine Sprache wartet", "Ein Wort wartet <b>"), encoding="utf-8"
    )
    expect(page.locator("#waiting p")).to_contain_text("Ein Wort wartet <b>")


def test_a_font_is_used_and_one_that_the_browser_cannot_read_is_told(
    projector: BrowserContext, owner: PlayedOwner
) -> None:
    page = show(projector, owner)
    font = stage_folder(owner) / "fonts" / "broken.woff2"
    font.write_bytes(b"wOF2" + b"no font" * 9)
    try:
        expect(page.locator("#problems")).to_contain_text("fonts/broken.woff2: the browser cannot read this font")
        built = next(
            (Path(__file__).parent.parent.parent / "frontend" / "dist" / "assets").glob("inter-latin-wght*.woff2")
        )
        shutil.copyfile(built, font)
        expect(page.locator("#problems")).to_have_count(0)
        expect(page.locator("main")).to_have_attribute("style", re.compile(r"'stage \d+ 0', 'Literata Variable'"))
    finally:
        font.unlink()


def test_a_font_that_was_just_taken_away_is_not_there(owner: PlayedOwner) -> None:
    font = stage_folder(owner) / "fonts" / "gone.ttf"
    font.write_bytes(b"\0\1\0\0" + b"x" * 8)
    until(lambda: owner.get("/stage/runtime")["fonts"] == [font.name], "the font")
    assert owner.cluster.owner.get(f"/stage/runtime/fonts/{font.name}").content == font.read_bytes()
    font.unlink()
    # At once: the folder is looked at only now and then.
    assert owner.cluster.owner.get(f"/stage/runtime/fonts/{font.name}").status_code == 404


@pytest.mark.alone
def test_it_steps_down_by_itself_and_loses_no_word(quick_projector: BrowserContext, owner: PlayedOwner) -> None:
    owner.begin("de")
    owner.say("Was ist das?", "one")
    page = quick_projector.new_page()
    # Large enough that no processor draws it in a frame's time.
    page.set_viewport_size({"width": 1920, "height": 1200})
    page.goto(f"{owner.address}/stage?key={owner.cluster.keys.stage}&begin=high&mute=1")
    expect(page.locator("main[data-drawing=true]")).to_be_visible()
    wait_for(page, "figures.instances > 40")
    before = figures(page)["instances"]
    wait_for(page, "figures.tier === 'middle' || figures.tier === 'low'")
    assert figures(page)["instances"] == before


def test_a_stage_that_is_opened_late_shows_what_was_said(projector: BrowserContext, owner: PlayedOwner) -> None:
    owner.cluster.behave(pause=0.0)
    owner.begin("de")
    for number in range(3):
        owner.say(f"Was ist das {number}?", "one")
    owner.say("Und hier?", "two")
    page = show(projector, owner)
    letters = sum(len(word.encode("utf-16-le")) // 2 for word in WORDS)
    wait_for(page, f"figures.spoken === {4 * letters} && figures.instances > 120")
    wait_for(page, "figures.measures.probability !== null")  # with the next reading of the measures
    probabilities = [PROBABILITIES[number % len(PROBABILITIES)] for number in range(len(WORDS))]
    assert figures(page)["measures"]["probability"] == pytest.approx(sum(probabilities) / len(probabilities))
    assert figures(page)["measures"]["speaking"] == 0
    before = figures(page)["instances"]
    page.reload()
    expect(page.locator("main[data-drawing=true]")).to_be_visible()
    wait_for(page, f"figures.instances === {before}")
    # What is said from now on is read as ever.
    owner.say("Und jetzt?", "one")
    wait_for(page, f"figures.instances > {before + 30}")


def test_the_operator_blanks_it(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    key = {"X-Key": owner.cluster.keys.operator}
    for blank in (True, False):
        reply = owner.cluster.owner.post("/operator/stage", json={"blank": blank}, headers=key)
        assert reply.status_code == 200, reply.text
        expect(page.locator("#blank")).to_have_count(int(blank))
        page.reload()
        expect(page.locator("main[data-phase=waiting]")).to_be_visible()
        expect(page.locator("#blank")).to_have_count(int(blank))


def test_sound_starts_by_itself_and_not_where_osc_drives_it(projector: BrowserContext, owner: PlayedOwner) -> None:
    assert owner.get("/state")["osc"]
    page = show(projector, owner, query="")
    expect(page.locator("main[data-phase=waiting]")).to_be_visible()
    expect(page.locator("main[data-sound=silent]")).to_be_visible()
    page.keyboard.press("m")
    expect(page.locator("main[data-sound=sounds]")).to_be_visible()
    page.keyboard.press("m")
    expect(page.locator("main[data-sound=silent]")).to_be_visible()
    page = show(projector, owner, query="sound=1")
    expect(page.locator("main[data-sound=sounds]")).to_be_visible()


def test_any_text_is_shown_as_text(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner)
    owner.begin("de")
    texts = [
        "<img src=x onerror=alert(1)>",
        "שלום עולם",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "語言" * 300,
        "x" * 10_000,
        "".join(map(chr, range(0x100, 0x900))),
    ]
    for text in texts:
        feed(page, "prompt", {"station": "s", "text": text})
        page.evaluate(FEED, [text, 0.5, 1.0, -1, "s"])
        page.evaluate("window.stage.pass(20)")
    wait_for(page, "figures.instances > 1000")
    assert figures(page)["instances"] <= LETTERS
    expect(page.locator("main img")).to_have_count(0)


def test_a_long_life_stays_bounded(projector: BrowserContext, owner: PlayedOwner) -> None:
    projector.add_init_script(ALONE)  # else thousands of letters are drawn all the while
    page = show(projector, owner)
    words = " ".join(f"Wort{number} ist ein Haus" for number in range(40))
    samples = []
    for iteration in range(-1, 8):
        feed(page, "state", state(iteration, "running"))
        for _ in range(6):
            page.evaluate(FEED, [words, 0.6, 1.2, iteration, "one"])
            page.evaluate(FEED, [words, 0.6, 1.2, iteration, "two"])
            page.evaluate("window.stage.pass(30)")
        for step in range(1, 5):
            feed(page, "round", training(iteration + 1, step, 2.0))
            page.evaluate("window.stage.pass(2)")
        feed(page, "swap", {"iteration": iteration + 1, "swap_seconds": 0.1, "held_seconds": 0.0})
        page.evaluate("window.frames.draw(0.5)")
        page.request_gc()
        samples.append(figures(page))
    assert samples[-1]["spoken"] > 60_000
    assert all(sample["instances"] == LETTERS for sample in samples[2:])
    assert all(sample["calls"] <= 2 for sample in samples)
    assert all(sample["textures"] <= 1 and sample["geometries"] <= 2 for sample in samples)
    # Nothing that was said is kept: what is left when the garbage is gone does not grow with it.
    heaps = [sample["heap"] for sample in samples]
    assert len(set(heaps)) == len(heaps), f"Chromium tells what is used, and not ten million: {heaps}"
    assert heaps[-1] < heaps[2] + 600_000, heaps


SECONDS = 12
"""Length of a rendering: at the slowest tempo two bars."""

CEILING = 0.9 * float(np.tanh(1.4))
"""The largest sample that the instrument's soft clipping lets through; music that reaches it is flattened."""

VOICES = 10
"""Six bells, three pads and the drone: how many tones sound at once, at most."""

COUNT_OSCILLATORS = """
(() => {
  window.oscillators = [];
  const create = BaseAudioContext.prototype.createOscillator;
  BaseAudioContext.prototype.createOscillator = function () {
    const node = create.call(this);
    const [start, stop] = [node.start.bind(node), node.stop.bind(node)];
    const times = {from: 0, to: Infinity};
    // Tone.js tries once what the browser refuses: only a start that succeeds counts.
    node.start = (at = 0) => { start(at); times.from = at; window.oscillators.push(times); };
    node.stop = (at = 0) => { times.to = at; stop(at); };
    return node;
  };
})()
"""
"""Notes in `window.oscillators` from when to when each oscillator of the page sounds, in seconds."""

OSCILLATORS_AT_ONCE = "Math.max(...oscillators.map(({from}) => oscillators.filter((other) => other.from <= from && from < other.to).length))"


@dataclass(frozen=True)
class Rendering:
    """Music that was rendered for some targets: its samples from -1 to 1, their rate in Hz, and when notes were written, in seconds."""

    samples: np.ndarray[Any, Any]
    rate: int
    written: list[float]

    def peak(self) -> float:
        return float(np.abs(self.samples).max())

    def energy(self) -> float:
        return float((self.samples**2).mean())

    def centroid(self) -> float:
        """The spectrum's centre of gravity, in Hz."""
        power = np.abs(np.fft.rfft(self.samples)) ** 2
        return float((power * np.fft.rfftfreq(len(self.samples), 1 / self.rate)).sum() / power.sum())

    def onsets(self) -> int:
        """How many notes are heard to begin: peaks of the rise of the spectrum, whatever the loudness is."""
        frames = np.lib.stride_tricks.sliding_window_view(self.samples / self.peak(), 1024)[::256]
        levels = np.log1p(200 * np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)) / 512)
        rises = np.maximum(np.diff(levels, axis=0), 0).mean(axis=1)
        around = np.lib.stride_tricks.sliding_window_view(np.pad(rises, 3), 7).max(axis=1)
        return int(((rises == around) & (rises > 0.015)).sum())


def render(page: Page, targets: Mapping[str, float]) -> Rendering:
    rendered = page.evaluate("([targets, seconds]) => window.stage.music(targets, seconds)", [targets, SECONDS])
    samples = np.frombuffer(base64.b64decode(rendered["samples"]), dtype="<f4")
    assert len(samples) == SECONDS * rendered["rate"]
    return Rendering(samples, rendered["rate"], rendered["onsets"])


def targets_of(
    page: Page, iteration: int, phase: str, text: str, probability: float, entropy: float
) -> dict[str, float]:
    """What the mapping makes of an answer in this state of a run, a minute later."""
    feed(page, "state", state(iteration, phase))
    page.evaluate(FEED, [text, probability, entropy, iteration, "one"])
    page.evaluate("window.stage.pass(60)")
    return dict(figures(page)["targets"])


def test_a_dying_language_is_heard_to_die(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner, query="mute=1&blank=1")
    whole = targets_of(page, -1, "running", LIVELY[:300], 0.55, 1.9)
    dying = targets_of(page, ROUNDS - 1, "last_words", DYING, 0.97, 0.15)
    # Without the drone, which becomes louder while everything else becomes less.
    first, last = (render(page, targets | {"drone": 0}) for targets in (whole, dying))
    assert first.onsets() > 1.5 * last.onsets() > 0, (first.onsets(), last.onsets())
    assert first.energy() > 3 * last.energy(), (first.energy(), last.energy())
    assert first.centroid() > 1.5 * last.centroid(), (first.centroid(), last.centroid())
    # Each for its own reason: with this one target of the dying language the whole one is heard to have less.
    assert first.onsets() > 1.25 * render(page, whole | {"drone": 0, "density": dying["density"]}).onsets()
    assert first.onsets() > 1.15 * render(page, whole | {"drone": 0, "tempo": dying["tempo"]}).onsets()
    assert first.energy() > 3 * render(page, whole | {"drone": 0, "loudness": dying["loudness"]}).energy()
    assert first.centroid() > 1.5 * render(page, whole | {"drone": 0, "timbre": dying["timbre"]}).centroid()
    few = {"density": 0.03, "tempo": 60}
    without = render(page, few | {"drone": 0}).samples
    drones = [
        float(((render(page, few | {"drone": targets["drone"]}).samples - without) ** 2).mean())
        for targets in (whole, dying)
    ]
    assert drones[1] > 1.5 * drones[0] > 0, drones


def test_a_density_of_0_is_silence(projector: BrowserContext, owner: PlayedOwner) -> None:
    page = show(projector, owner, query="mute=1&blank=1")
    nothing = {"density": 0, "drone": 1, "ticks": 1}
    for targets in ({"loudness": 0}, {"tempo": 38, "loudness": -17, "harmony": 0}):
        assert render(page, targets).peak() > 0.02
        still = render(page, targets | nothing)
        assert still.written == []
        assert still.peak() < 1e-4
    assert render(page, nothing | {"density": 0.06}).peak() > 0.02, "and comes back with the first notes"


def test_at_its_loudest_it_is_neither_clipped_nor_more_than_its_voices(
    projector: BrowserContext, owner: PlayedOwner
) -> None:
    projector.add_init_script(COUNT_OSCILLATORS)
    page = show(projector, owner, query="mute=1&blank=1")
    everything = {"density": 1, "tempo": 140, "loudness": 0, "timbre": 8000, "ticks": 1, "drone": 1}
    loudest = render(page, everything)
    # However many notes there are.
    assert page.evaluate(OSCILLATORS_AT_ONCE) == VOICES
    assert len(loudest.written) > VOICES * SECONDS
    # Well below the soft clipping's ceiling, where it still bends little.
    assert 0.2 < loudest.peak() < 0.75 * CEILING, loudest.peak()
    assert 0.05 < render(page, {"loudness": -9}).peak() < 0.4 * CEILING, "as loud as the shipped mapping makes it"
