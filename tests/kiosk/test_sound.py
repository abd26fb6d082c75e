"""A projection without sound is noticed: a real PulseAudio with an output of its own, the kiosk's reporter, and the owner."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.owner.played_owner import PlayedOwner
from tests.owner.played_owner_fixtures import owner, owner_folder, shared_owner
from tests.waiting import until
from wmkml.kiosk.sound import SoundReporter
from wmkml.owner.problems.facts import OwnerFacts, judge
from wmkml.owner.problems.watch import SOUND_SECONDS, sound_problem
from wmkml.protocol.opening import SoundReport
from wmkml.system.sound.output import (
    NO_OUTPUT,
    SoundOutput,
    SoundUnknownError,
    from_amixer,
    from_pactl,
    from_wpctl,
    sound_output,
)

__all__ = ["owner", "owner_folder", "shared_owner"]


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    return {"general.expected_volume": 60.0}


@pytest.fixture
def pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A PulseAudio whose one output leads nowhere; the function calls `pactl`."""
    socket = tmp_path / "pulse.socket"
    for name in ("HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PULSE_SERVER", f"unix:{socket}")
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes"]
    modules = [f"module-native-protocol-unix socket={socket} auth-anonymous=1", "module-null-sink sink_name=hall"]
    with (tmp_path / "pulse.log").open("w") as log:
        loaded = [word for module in modules for word in ("--load", module)]
        server = subprocess.Popen([*command, *loaded], stdout=log, stderr=log)
        try:

            def pactl(*words: str) -> None:
                subprocess.run(["pactl", *words], check=True, capture_output=True, timeout=20)

            until(lambda: subprocess.run(["pactl", "info"], check=False, capture_output=True).returncode == 0, "pulse")
            yield pactl
        finally:
            server.terminate()
            server.wait(20)


def problems(played: PlayedOwner) -> dict[str, str]:
    """The owner's problems now: details by code."""
    reply = httpx.get(f"{played.address}/operator/problems", headers={"X-Key": played.cluster.keys.operator})
    return {problem["code"]: problem["detail"] for problem in reply.json()["problems"]}


@pytest.mark.process
def test_what_cannot_be_heard_is_a_problem_until_it_can(owner: PlayedOwner, pulse: Callable[..., None]) -> None:
    lines: list[str] = []
    reporter = SoundReporter(owner.address, lambda: owner.cluster.keys.stage, True, lines.append)
    pulse("set-sink-volume", "@DEFAULT_SINK@", "80%")
    assert reporter.look_once() and sound_output() == SoundOutput("hall", 80.0, False)
    assert "sound" not in problems(owner)
    pulse("set-sink-volume", "@DEFAULT_SINK@", "35%")
    assert reporter.look_once()
    until(lambda: problems(owner).get("sound") == "hall: 35 %", "the turned-down output to be named")
    pulse("set-sink-volume", "@DEFAULT_SINK@", "60%")
    pulse("set-sink-mute", "@DEFAULT_SINK@", "1")
    assert reporter.look_once()
    until(lambda: problems(owner).get("sound") == "hall: 0 %", "the muted output to be named")
    pulse("set-sink-mute", "@DEFAULT_SINK@", "0")
    assert reporter.look_once()
    until(lambda: "sound" not in problems(owner), "the problem to go")
    pulse("unload-module", "module-null-sink")
    assert reporter.look_once() and sound_output() == NO_OUTPUT
    until(lambda: problems(owner).get("sound") == "–", "the missing output to be named")
    assert lines == []


@pytest.mark.process
def test_the_reporter_looks_by_itself_and_says_once_what_it_cannot_know(owner: PlayedOwner) -> None:
    lines: list[str] = []

    def look() -> SoundOutput:
        raise SoundUnknownError("No sound system answers (a stand-in).")

    reporter = SoundReporter(owner.address, lambda: owner.cluster.keys.stage, True, lines.append, look)
    assert reporter.look_once() and reporter.look_once()
    assert lines == ["Whether the stage can be heard is not known. No sound system answers (a stand-in)."]
    until(lambda: problems(owner).get("sound") == "No sound system answers (a stand-in).", "the reason to be named")
    stop = threading.Event()
    thread = SoundReporter(
        owner.address, lambda: owner.cluster.keys.stage, True, lines.append, lambda: SoundOutput("hall", 90.0, False)
    ).start(stop)
    until(lambda: "sound" not in problems(owner), "the thread to tell")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.process
def test_only_the_stage_may_tell(owner: PlayedOwner) -> None:
    address, report = f"{owner.address}/stage/sound", {"device": "hall", "volume": 10.0, "muted": False}
    assert httpx.post(address, json=report).status_code == 401
    known = {"X-Key": owner.cluster.keys.stage}
    for broken in ({"volume": -1}, {"volume": "loud"}, {"device": "x" * 201}, {"muted": 1}):
        assert httpx.post(address, json=report | broken, headers=known).status_code == 400, broken


def test_nothing_is_expected_of_a_silent_installation_or_a_closed_one() -> None:
    quiet = (100.0, SoundReport(device="hall", volume=10.0))
    assert sound_problem(quiet, 60.0, 100.0) == "hall: 10 %"
    assert sound_problem(quiet, 10.0, 100.0) == ""
    assert sound_problem(quiet, 0.0, 100.0) == ""
    assert sound_problem(quiet, 60.0, 101.0 + SOUND_SECONDS) == "", "its kiosk has ended"
    assert sound_problem(None, 60.0, 100.0) == ""
    for is_open in (True, False):
        codes = [problem.code for problem in judge(OwnerFacts(sound_problem="hall: 10 %", is_open=is_open))]
        assert ("sound" in codes) == is_open


def test_the_tools_answers_are_read() -> None:
    inspected = '  * node.description = "Built-in Audio Analog Stereo"\n    node.name = "alsa_output.pci"\n'
    assert from_wpctl("Volume: 0.40\n", inspected) == SoundOutput("Built-in Audio Analog Stereo", 40.0, False)
    assert from_wpctl("Volume: 1.00 [MUTED]\n", inspected).muted
    assert from_wpctl("Volume: 1.00\n", 'node.description = "Dummy Output"') == NO_OUTPUT
    assert from_pactl("auto_null\n", "", "") == NO_OUTPUT
    stereo = "Volume: front-left: 26214 /  40% / -23.88 dB,   front-right: 65536 / 100% / 0.00 dB\n"
    assert from_pactl("hall\n", stereo, "Mute: no\n") == SoundOutput("hall", 100.0, False)
    master = "  Front Left: Playback 26214 [40%] [off]\n  Front Right: Playback 26214 [42%] [on]\n"
    assert from_amixer(master) == SoundOutput("Master", 42.0, False)
    assert from_amixer(master.replace("[on]", "[off]")).muted
    unknown: list[Callable[[], SoundOutput]] = [
        lambda: from_wpctl("", ""),
        lambda: from_pactl("hall", "", ""),
        lambda: from_amixer(""),
    ]
    for broken in unknown:
        with pytest.raises(SoundUnknownError, match="is not understood"):
            broken()


def test_without_any_tool_it_says_what_would_be_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(SoundUnknownError, match="none of wpctl, pactl, amixer is installed"):
        sound_output()
