"""The real owner, with a stand-in of inference and a worker played by the test, for the tests of pages, desk and window.

Adds to `OwnerCluster` what these tests need: an address for a browser, rounds played step by step, and typing as reported by OSC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pythonosc.osc_message import OscMessage

from tests.owner.owner_cluster import OwnerCluster
from tests.waiting import until
from wmkml.measures.registry import measured_once

WORDS = ["Eine ", "Sprache ", "ist ", "ein ", "Haus ", "aus ", "Wört", "ern", " 🏠", ". ", "Und", " dann", " der"]
"""Holds a character that is two code units in JavaScript, and a token in which a sentence ends."""

PROBABILITIES = [0.98, 0.71, 0.9, 0.35, 0.12]
KEPT_ANSWER = "Eine Sprache ist ein Haus aus Wörtern 🏠."
KEPT_WORDS = [*WORDS[:9], "."]
"""`KEPT_ANSWER` and no more: nothing has to fade before the page shows the next state."""

PAUSE = 0.01
"""Seconds between two tokens."""

STEPS = 4
ROUNDS = 3


FORGETTING = (0.0, 0.4, 1.1, 40.0)
"""In nats, from the newborn to the last iteration: lives of 1, two thirds, a third, and none."""


def measures_of(iteration: int) -> dict[str, Any]:
    """What the worker tells of an iteration: each measure rises with every round."""
    values = {measure.name: 0.1 * (iteration + 2) for measure in measured_once()}
    values["forgetting"] = FORGETTING[iteration + 1]
    return {"values": values, "layers": {"lora_update": [value / 2 for value in values.values()]}}


class PlayedOwner:
    """The owner's process, and methods that advance its run."""

    def __init__(self, folder: Path, **overrides: Any) -> None:
        self.cluster = OwnerCluster(folder, **overrides)
        self.address = f"http://127.0.0.1:{self.cluster.settings.general.owner_port}"
        self._typing_reports: list[str] = []
        self._job: dict[str, Any] | None = None

    def start(self) -> None:
        """Start the owner again, as the launcher's supervisor would."""
        self.cluster.start_owner()
        until(lambda: self.cluster.state()["inference"] == "ready", "the owner to see inference")

    def kill(self) -> None:
        """End the owner as a crash would."""
        self.cluster.kill_owner()

    def reset(self) -> None:
        """Bring it back to the first state, whatever a test did: alive, waiting for a language, the stand-in as at first."""
        process = self.cluster.owner_process
        if process is None or process.poll() is not None:
            self.start()
        if self.cluster.state()["phase"] != "waiting":
            self.end()
        self.cluster.behave(words=WORDS, probabilities=PROBABILITIES, pause=PAUSE, proof=None)
        self.typing_reports()
        self._typing_reports.clear()
        self._job = None

    def get(self, path: str) -> Any:
        return self.cluster.owner.get(path).raise_for_status().json()

    def begin(self, language: str) -> None:
        """Start a run, also in the middle of another one."""
        self.cluster.begin(language)

    def say(self, prompt: str, station: str) -> None:
        """Send a prompt from a station; returns when it is answered."""
        self.cluster.chat(prompt, station=station)

    def hesitate(self) -> None:
        """Answer slowly from now on, so that a test can act in the middle of an answer."""
        self.cluster.behave(pause=0.5)

    def answer_at_once(self) -> None:
        """Answer `KEPT_ANSWER` without a pause from now on, for tests of anything but how an answer comes."""
        self.cluster.behave(words=KEPT_WORDS, pause=0.0)

    def train(self) -> None:
        """Train the next round, step by step, but do not hand it in."""
        self._job = self.cluster.claim(base_measures=measures_of(-1))
        for step in range(1, STEPS + 1):
            loss = 3.2 - 0.3 * self._job["iteration"] - 0.15 * step + (0.2 if step % 2 else 0.0)
            assert self.cluster.step(self._job, step, STEPS, loss=loss)

    def hand_in(self) -> None:
        """Hand in the round that was trained, and wait until it answers."""
        assert self._job is not None
        sha256 = self.cluster.write_adapter(Path(self._job["folder"]))
        reply = self.cluster.hand_in(self._job, sha256, measures=measures_of(self._job["iteration"]))
        assert reply.json()["accepted"], reply.text
        self.cluster.until_iteration(self._job["iteration"])

    def play_round(self) -> None:
        """Train a round and hand it in."""
        self.train()
        self.hand_in()

    def end(self) -> None:
        """End the run now."""
        assert self.cluster.end().status_code == 200
        self.cluster.until_phase("waiting")

    def typing_reports(self) -> list[str]:
        """The values of every OSC message about typing since the last reset."""
        self.cluster.osc.settimeout(0.05)
        while True:
            try:
                message = OscMessage(self.cluster.osc.recv(8192))
            except TimeoutError:
                return self._typing_reports
            if message.address == "/user_activity":
                self._typing_reports += message.params


@contextmanager
def played_owner(folder: Path, **overrides: Any) -> Iterator[PlayedOwner]:
    """A started owner that waits for a language; stopped at the end."""
    owner = PlayedOwner(folder, **{"finetuning.num_total_iters": ROUNDS} | overrides)
    try:
        owner.cluster.start()
        owner.reset()
        yield owner
    finally:
        owner.cluster.stop()
