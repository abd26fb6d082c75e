"""The Tk window on a real display (Xvfb), against the real owner over real HTTP."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tkinter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import ImageGrab

from tests.owner_house import ROOT, until
from tests.played_owner import KEPT, PlayedOwner, played_owner
from wmkml.gui.client import OwnerClient
from wmkml.gui.exchange import Exchange
from wmkml.gui.losses import gathered, line
from wmkml.gui.main import fill
from wmkml.gui.words import ENGLISH, GERMAN, Words, consent
from wmkml.wire import RoundRecord, RunState


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing; ./run_tests.sh installs it"
    return found


@contextmanager
def new_display() -> Iterator[str]:
    """The name of a display of our own, as `:7`."""
    reading, writing = os.pipe()
    screen = [program("Xvfb"), "-displayfd", str(writing), "-screen", "0", "1000x760x24", "-nolisten", "tcp"]
    server = subprocess.Popen(screen, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    yield f":{number}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedOwner]:
    with played_owner(tmp_path_factory.mktemp("house")) as one:
        yield one


@pytest.fixture
def owner(house: PlayedOwner) -> PlayedOwner:
    """The owner, waiting for a language."""
    house.fresh()
    return house


@pytest.fixture(scope="module")
def tk() -> Iterator[tkinter.Tk]:
    """One Tk for all tests: an interpreter of Tk must die in the thread that made it, which garbage collection ignores."""
    with new_display() as display:
        one = tkinter.Tk(screenName=display)
        yield one
        one.destroy()
        del one
        gc.collect()


@pytest.fixture
def display() -> Iterator[str]:
    """A display on which no other window is."""
    with new_display() as name:
        yield name


class Seen:
    """A window in this process, and what somebody sees in it."""

    def __init__(self, tk: tkinter.Tk, client: OwnerClient) -> None:
        self.tk, self.client = tk, client

    def all(self, kind: str) -> list[tkinter.Misc]:
        def below(widget: tkinter.Misc) -> Iterator[tkinter.Misc]:
            yield widget
            for child in widget.winfo_children():
                yield from below(child)

        return [one for one in below(self.tk) if one.winfo_class() == kind]

    def labels(self) -> str:
        return "\n".join(str(one["text"]) for one in self.all("TLabel"))

    def text(self) -> str:
        (text,) = self.all("Text")
        assert isinstance(text, tkinter.Text)
        return text.get("1.0", "end-1c")

    def shades(self) -> set[str]:
        (text,) = self.all("Text")
        assert isinstance(text, tkinter.Text)
        return {tag for tag in text.tag_names() if tag.startswith("shade") and text.tag_ranges(tag)}

    def canvas(self) -> tkinter.Canvas:
        (canvas,) = self.all("Canvas")
        assert isinstance(canvas, tkinter.Canvas)
        return canvas

    def entry(self) -> tkinter.ttk.Entry:
        (entry,) = self.all("TEntry")
        assert isinstance(entry, tkinter.ttk.Entry)
        return entry

    def press(self, label: str) -> None:
        buttons = {str(one["text"]): one for one in self.all("TButton")}
        assert label in buttons, f"{label!r} is none of {list(buttons)}"
        button = buttons[label]
        assert isinstance(button, tkinter.ttk.Button)
        button.invoke()

    def join(self) -> None:
        """Choose German in a run that lives."""
        self.until(lambda: "Die Sprache hört zu" in self.labels(), "the run has begun")
        self.press("Auf Deutsch sprechen")
        self.until(lambda: str(self.entry()["state"]) == "normal", "one may type")

    def close(self) -> None:
        """Empty the window, and end what it still has to do."""
        for waiting in self.tk.splitlist(self.tk.call("after", "info")):
            self.tk.after_cancel(waiting)
        for child in self.tk.winfo_children():
            child.destroy()
        gc.collect()

    def until(self, true: Callable[[], object], what: str) -> None:
        def turned() -> object:
            self.tk.update()
            return true()

        until(turned, what)


@pytest.fixture
def seen(tk: tkinter.Tk, owner: PlayedOwner) -> Iterator[Seen]:
    client = fill(tk, owner.house.settings, owner.house.folder)
    one = Seen(tk, client)
    one.until(lambda: "Wartet auf eine Sprache" in one.labels(), "the run's state is shown")
    yield one
    client.close()
    one.close()


def test_it_shows_what_osc_would_have_carried(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    for _ in range(2):
        owner.round()
    owner.train()
    seen.until(lambda: "Die Sprache lernt … 4/4" in seen.labels(), "it says that it learns")
    assert "Iteration 1 " in seen.labels()
    assert "Lernrate 0.0013" in seen.labels()
    assert re.search(r"Noch (30:00|29:\d\d)", seen.labels())
    points = seen.canvas().coords("loss")
    assert len(points) == 2 * 12, "three rounds of four steps"
    assert points[1] < points[-1], "the loss fell, and the line with it"

    owner.say("Was ist ein\nHaus?", "another")
    seen.until(lambda: "Iteration 1" in seen.text(), "the answer is complete")
    assert seen.text() == f"Was ist ein\nHaus?\n{KEPT}\nIteration 1"
    assert len(seen.shades()) > 3, "tokens are as pale as they were improbable"


def test_tokens_come_one_by_one(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("en")
    seen.until(lambda: "The language is listening" in seen.labels(), "the labels follow the run's language")
    seen.press("Speak English")
    seen.until(lambda: str(seen.entry()["state"]) == "normal", "one may type")
    seen.entry().insert(0, "What is a house?")
    grown: list[str] = []

    def complete() -> bool:
        grown.append(seen.text())
        return "Iteration −1 (untouched)" in seen.text()

    seen.press("Send")
    seen.until(complete, "the answer is complete")
    assert len(set(grown)) > 4
    assert owner.get(f"/station?station={seen.client.station}")["exchanges"][0]["prompt"] == "What is a house?"


def test_a_language_starts_a_run_only_while_one_is_awaited(seen: Seen, owner: PlayedOwner) -> None:
    seen.press("Begin in English")
    seen.until(lambda: "The language is listening" in seen.labels(), "the run has begun")
    run = owner.get("/state")["run"]
    seen.press("Auf Deutsch sprechen")
    seen.until(lambda: "Die Sprache hört zu" in seen.labels(), "the window speaks German")
    assert owner.get("/state")["run"] == run, "the run goes on"
    assert owner.get("/state")["language"] == "en"


def test_words_leave_with_their_run(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    owner.round()
    owner.say("Merk dir das.", "another")
    seen.until(lambda: "Merk dir das." in seen.text() and seen.canvas().coords("loss"), "words and losses are shown")
    owner.round()
    owner.round()
    seen.until(lambda: "Letzte Worte" in seen.labels(), "last words")
    owner.end()
    seen.until(lambda: "Wartet auf eine Sprache" in seen.labels(), "the run is over")
    assert seen.text() == "Noch hat niemand etwas gesagt."
    assert not seen.canvas().coords("loss")


def test_it_survives_the_owner(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    seen.join()
    owner.kill()
    seen.until(lambda: "Der Owner antwortet nicht" in seen.labels(), "it says that the owner is away")
    owner.start()
    seen.until(lambda: "Der Owner antwortet nicht" not in seen.labels(), "it found the owner again")
    owner.round()
    seen.until(lambda: "Iteration 0" in seen.labels(), "it hears what happens now")
    seen.entry().insert(0, "Bist du noch da?")
    seen.press("Senden")
    seen.until(lambda: "Bist du noch da?\nEine Sprache" in seen.text(), "and one can go on talking")


def test_an_answer_that_breaks_off_gives_the_words_back(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    seen.join()
    owner.hesitate()
    seen.entry().insert(0, "Und dann?")
    seen.press("Senden")
    seen.until(lambda: "Eine Sprache" in seen.text(), "the answer is under way")
    owner.kill()
    seen.until(lambda: seen.entry().get() == "Und dann?", "the words are back")


def test_a_refusal_is_shown_as_a_sentence(seen: Seen, owner: PlayedOwner) -> None:
    owner.begin("de")
    seen.join()
    seen.entry().insert(0, "x" * 3000)
    seen.press("Senden")
    seen.until(lambda: "Das ging nicht: " in seen.labels(), "the owner's sentence is shown")
    assert seen.entry().get() == "x" * 3000


@pytest.mark.parametrize("content", ["no keys at all", json.dumps(dict.fromkeys(("stage", "worker", "operator"), "x"))])
def test_without_the_stages_key_its_own_words_are_shown(
    tk: tkinter.Tk, owner: PlayedOwner, tmp_path: Path, content: str
) -> None:
    keys = tmp_path / "data" / "keys.json"
    keys.parent.mkdir()
    keys.write_text(content)
    client = fill(tk, owner.house.settings, tmp_path)
    seen = Seen(tk, client)
    seen.until(lambda: "nur, was in diesem Fenster gesagt wird" in seen.labels(), "it says what it shows")
    owner.begin("de")
    owner.say("Von woanders.", "another")
    owner.say("Von hier.", client.station)
    seen.until(lambda: "Von hier." in seen.text(), "its own words are shown")
    assert "Von woanders." not in seen.text()
    client.close()
    seen.close()


def test_the_program_is_used_by_keyboard_and_ends_when_told(display: str, owner: PlayedOwner) -> None:
    environment = {**os.environ, "DISPLAY": display}
    command = [sys.executable, "gui.py", "--config", str(owner.house.config)]
    window = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

    def xdo(*words: str) -> str:
        return subprocess.run(
            [program("xdotool"), *words], env=environment, check=False, capture_output=True, text=True, timeout=30
        ).stdout.strip()

    try:
        until(lambda: xdo("search", "--onlyvisible", "--name", "Watch me kill"), "the window opens")
        number = xdo("search", "--onlyvisible", "--name", "Watch me kill").splitlines()[0]
        xdo("windowfocus", number)

        def begun() -> bool:
            # The first widget that takes the keyboard is the first language's button, as soon as the state is known.
            xdo("key", "Tab", "space")
            time.sleep(0.3)
            return owner.get("/state")["phase"] != "waiting"

        until(begun, "a language is chosen with Tab and the space bar")

        def said() -> bool:
            xdo("type", "--delay", "20", "Hallo")
            xdo("key", "Return")
            time.sleep(0.5)
            return owner.house.counts()["visitor"] > 0

        until(said, "something is said with the keyboard")
        until(lambda: {"typing", "stopped"} <= set(owner.typed()), "typing is reported")
        picture = ImageGrab.grab(xdisplay=display)
        colors = picture.convert("RGB").getcolors(maxcolors=2**24)
        assert colors is not None and len(colors) > 50, "the window shows something"
        window.send_signal(signal.SIGTERM)
        assert window.wait(timeout=20) == 0
    finally:
        window.kill()
    assert window.stderr is not None
    assert "Traceback" not in window.stderr.read()


@pytest.mark.parametrize("display_name", [None, ":4711"])
def test_without_a_display_it_says_so(display_name: str | None, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    if display_name:
        environment["DISPLAY"] = display_name
    path = tmp_path / "config.yaml"
    path.write_text("general:\n  model_name: understudy\n")
    command = [sys.executable, "gui.py", "--config", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "There is no display for the window" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_tk_it_names_the_package() -> None:
    # A Python without Tk has no _tkinter; None in sys.modules is how an import learns that.
    program_text = (
        "import sys; sys.modules['_tkinter'] = None\n"
        "from pathlib import Path; from wmkml.config import Settings; from wmkml.gui.main import serve\n"
        "sys.exit(serve(Settings(), Path('.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program_text], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == "The window needs Tk, which this Python lacks; on Debian: apt-get install python3-tk.\n"


@pytest.mark.parametrize("words", [GERMAN, ENGLISH])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("carried", [False, True])
def test_who_types_is_told_what_the_settings_say(owner: PlayedOwner, words: Words, kept: bool, carried: bool) -> None:
    state = RunState.model_validate(owner.get("/state"))
    told = consent(state.model_copy(update={"keep_runs": kept, "carries_words": carried}), words)
    assert (words.stored in told) == (not kept and not carried)
    assert (words.kept in told, words.carried in told) == (kept or carried, carried)
    assert (words.shown in told, words.logged in told) == (True, False)
    quiet = consent(state.model_copy(update={"osc": False, "log_visitor_words": True}), words)
    assert (words.shown in quiet, words.logged in quiet) == (False, True)


def test_an_exchange_keeps_what_the_owner_kept() -> None:
    grown = Exchange("a", "Wer?").grown("Ein ", 0.9).grown("Haus. Und", 0.2).grown(" dann", 0.1)
    assert grown.ended("Ein Haus.", 2).tokens == (("Ein ", 0.9), ("Haus.", 0.2))
    assert grown.ended("Ganz anders.", 2).tokens == (("Ganz anders.", 1.0),)


def test_losses_of_rounds_watched_and_not() -> None:
    past = RoundRecord(
        iteration=0, status="accepted", learning_rate=0.1, samples=1, steps=8, loss_first=3.0, loss_last=2.0
    )
    step = RoundRecord(iteration=1, status="training", learning_rate=0.1, samples=1, step=3, steps=8, loss=1.5)
    broken = step.model_copy(update={"step": 4, "loss": float("nan")})
    losses = gathered(gathered({}, [past, step]), [broken])
    assert losses == {(0, 1): 3.0, (0, 8): 2.0, (1, 3): 1.5}
    assert line(losses, width=120, height=50, pad=10) == [(10, 10), (60, 30), (110, 40)]
    assert line({(0, 1): 3.0}, width=120, height=50, pad=10) == []
