"""The machine's sound output, as its sound system tells it: PipeWire, PulseAudio or ALSA, whichever has a tool here.

Asked are the programs that come with them (`wpctl`, `pactl`, `amixer`), since each of the three has another library.  They
see the session of the user who runs them, so whoever plays sound must ask: the kiosk.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

ASKING_SECONDS = 5.0
"""How long a tool may take: one whose sound system hangs never ends."""

DUMMIES = ("auto_null", "Dummy Output")
"""What PulseAudio and PipeWire play to where there is no device."""

PIPEWIRE_SINK, PULSE_SINK = "@DEFAULT_AUDIO_SINK@", "@DEFAULT_SINK@"


class SoundUnknownError(RuntimeError):
    """No sound system of this session tells anything.  The message says what was tried."""


@dataclass(frozen=True)
class SoundOutput:
    """What is played to.

    Attributes:
        device: its name; empty: there is none.
        volume: percent, of its loudest channel; above 100 where the sound system amplifies.
        muted: whether it is switched off.
    """

    device: str
    volume: float
    muted: bool


NO_OUTPUT = SoundOutput("", 0.0, False)


def sound_output() -> SoundOutput:
    """The default output now.

    Raises:
        SoundUnknownError: there is no tool, or none that answers.
    """
    reasons = []
    for tool, ask in TOOLS.items():
        if shutil.which(tool) is None:
            continue
        try:
            return ask()
        except SoundUnknownError as error:
            reasons.append(f"{tool}: {error}")
    tried = "; ".join(reasons) or f"none of {', '.join(TOOLS)} is installed"
    raise SoundUnknownError(f"No sound system answers ({tried}).")


def from_wpctl(volume: str, description: str) -> SoundOutput:
    """Read `wpctl get-volume` ("Volume: 0.40 [MUTED]") and `wpctl inspect` of a sink."""
    value = re.search(r"Volume:\s+([\d.]+)", volume)
    if value is None:
        raise SoundUnknownError(f"its answer is not understood: {volume.strip()[:80]!r}")
    names = re.findall(r'node\.(?:description|name) = "([^"]*)"', description)
    if any(name in DUMMIES for name in names):
        return NO_OUTPUT
    return SoundOutput(names[0] if names else "?", 100 * float(value[1]), "[MUTED]" in volume)


def from_pactl(sink: str, volume: str, mute: str) -> SoundOutput:
    """Read `pactl get-default-sink`, `get-sink-volume` ("… 26214 /  40% / …") and `get-sink-mute` ("Mute: no")."""
    if sink.strip() in DUMMIES:
        return NO_OUTPUT
    values = re.findall(r"(\d+)%", volume)
    if not values:
        raise SoundUnknownError(f"its answer is not understood: {volume.strip()[:80]!r}")
    return SoundOutput(sink.strip(), max(map(float, values)), "yes" in mute.lower())


def from_amixer(answer: str) -> SoundOutput:
    """Read `amixer sget Master` ("Front Left: Playback 26214 [40%] [on]")."""
    values = re.findall(r"\[(\d+)%\]", answer)
    if not values:
        raise SoundUnknownError(f"its answer is not understood: {answer.strip()[:80]!r}")
    return SoundOutput("Master", max(map(float, values)), "[off]" in answer and "[on]" not in answer)


def _ask_wpctl() -> SoundOutput:
    # A session without an output has no default one; a session without PipeWire has no status either.
    if not re.search(r"Sinks:", _answer("wpctl", "status")):
        raise SoundUnknownError("it lists no outputs")
    try:
        return from_wpctl(_answer("wpctl", "get-volume", PIPEWIRE_SINK), _answer("wpctl", "inspect", PIPEWIRE_SINK))
    except SoundUnknownError:
        return NO_OUTPUT


def _ask_pactl() -> SoundOutput:
    sink = _answer("pactl", "get-default-sink")
    if not _answer("pactl", "list", "short", "sinks").strip():
        return NO_OUTPUT
    return from_pactl(
        sink, _answer("pactl", "get-sink-volume", PULSE_SINK), _answer("pactl", "get-sink-mute", PULSE_SINK)
    )


def _ask_amixer() -> SoundOutput:
    try:
        return from_amixer(_answer("amixer", "sget", "Master"))
    except SoundUnknownError as error:
        # ALSA alone says so in this way where there is no card.
        if "No such file" in str(error) or "Mixer attach default error" in str(error):
            return NO_OUTPUT
        raise


TOOLS: dict[str, Callable[[], SoundOutput]] = {"wpctl": _ask_wpctl, "pactl": _ask_pactl, "amixer": _ask_amixer}
"""By program, in the order in which they are asked: PipeWire serves PulseAudio's tool as well, and both serve ALSA's."""


def _answer(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=ASKING_SECONDS,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SoundUnknownError(f"it does not answer ({type(error).__name__})") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise SoundUnknownError(lines[-1][:120] if lines else f"it ends with {done.returncode}")
    return done.stdout
