"""The real owner, with a stand-in of inference and a worker played by the test, for the tests of the page and the window.

Adds to `House` what these tests look at: an address for a browser, rounds played step by step, and typing as OSC hears it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pythonosc.osc_message import OscMessage

from tests.owner_house import House, until

WORDS = ["Eine ", "Sprache ", "ist ", "ein ", "Haus ", "aus ", "Wört", "ern", " 🏠", ". ", "Und", " dann", " der"]
"""A character that JavaScript counts twice, and an end of the sentence inside a token."""

PROBABILITIES = [0.98, 0.71, 0.9, 0.35, 0.12]
KEPT = "Eine Sprache ist ein Haus aus Wörtern 🏠."
PAUSE = 0.03
"""Seconds between two tokens."""

STEPS = 4
ROUNDS = 3


class PlayedOwner:
    """The owner's process, and the handles that make its run go on."""

    def __init__(self, folder: Path, **overrides: Any) -> None:
        self.house = House(folder, **overrides)
        self.address = f"http://127.0.0.1:{self.house.settings.general.owner_port}"
        self._heard: list[str] = []
        self._job: dict[str, Any] | None = None

    def start(self) -> None:
        """Start the owner again, as supervision would."""
        self.house.start_owner()
        until(lambda: self.house.state()["inference"] == "ready", "the owner to see inference")

    def kill(self) -> None:
        """End the owner as a crash would."""
        self.house.kill_owner()

    def fresh(self) -> None:
        """Make it live and wait for a language, whatever was done to it."""
        process = self.house.owner_process
        if process is None or process.poll() is not None:
            self.start()
        if self.house.state()["phase"] != "waiting":
            self.end()
        self.house.behave(words=WORDS, probabilities=PROBABILITIES, pause=PAUSE)
        self.typed()
        self._heard.clear()
        self._job = None

    def get(self, path: str) -> Any:
        return self.house.owner.get(path).raise_for_status().json()

    def begin(self, language: str) -> None:
        """Start a run, whatever there was."""
        self.house.begin(language)

    def say(self, prompt: str, station: str) -> None:
        """Somebody says something somewhere; returns when it is answered."""
        self.house.chat(prompt, station=station)

    def hesitate(self) -> None:
        """Answer so slowly from now on that there is time to break off in the middle."""
        self.house.behave(pause=0.5)

    def train(self) -> None:
        """Train the next round, step by step, but do not hand it in."""
        self._job = self.house.claim()
        for step in range(1, STEPS + 1):
            loss = 3.2 - 0.3 * self._job["iteration"] - 0.15 * step + (0.2 if step % 2 else 0.0)
            assert self.house.step(self._job, step, STEPS, loss=loss)

    def hand_in(self) -> None:
        """Hand in the round that was trained, and wait until it answers."""
        assert self._job is not None
        reply = self.house.hand_in(self._job, self.house.write_adapter(Path(self._job["folder"])))
        assert reply.json()["accepted"], reply.text
        self.house.until_iteration(self._job["iteration"])

    def round(self) -> None:
        """One whole round."""
        self.train()
        self.hand_in()

    def end(self) -> None:
        """End the run now."""
        assert self.house.end().status_code == 200
        self.house.until_phase("waiting")

    def typed(self) -> list[str]:
        """What OSC heard of typing, from the beginning."""
        self.house.osc.settimeout(0.05)
        while True:
            try:
                message = OscMessage(self.house.osc.recv(8192))
            except TimeoutError:
                return self._heard
            if message.address == "/user_activity":
                self._heard += message.params


@contextmanager
def played_owner(folder: Path, **overrides: Any) -> Iterator[PlayedOwner]:
    """A started owner that waits for a language; ended at the end."""
    owner = PlayedOwner(folder, **{"finetuning.num_total_iters": ROUNDS} | overrides)
    try:
        owner.house.start()
        owner.fresh()
        yield owner
    finally:
        owner.house.stop()
