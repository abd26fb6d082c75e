"""The screens of an X display, and where each begins."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Screen:
    """A screen's place on the display, in pixels; `x` and `y` of its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.x}+{self.y}"


class ScreensUnknownError(RuntimeError):
    """The screens cannot be told, or a text names none."""


def screen_of(text: str) -> Screen:
    """Read WIDTHxHEIGHT+X+Y, as X writes a geometry.

    Raises:
        ScreensUnknownError: it is none.
    """
    match = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", text)
    if match is None or "0" in match.groups()[:2]:
        raise ScreensUnknownError(f"{text} is no place of a screen: write WIDTHxHEIGHT+X+Y, as 1920x1080+0+0.")
    width, height, x, y = map(int, match.groups())
    return Screen(x, y, width, height)


def connected_screens() -> list[Screen]:
    """The screens of this X display as `xrandr --listactivemonitors` lists them, the primary one first.

    Raises:
        ScreensUnknownError: there is no display, or no xrandr.
    """
    try:
        done = subprocess.run(["xrandr", "--listactivemonitors"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ScreensUnknownError(
            "xrandr is missing, which lists the screens. On Debian: sudo apt-get install x11-xserver-utils. "
            "Or name their places: --visitor-at 1920x1080+0+0 --stage-at 1920x1080+1920+0."
        ) from None
    # " 0: +*HDMI-1 1920/344x1080/194+0+0  HDMI-1": pixels/millimetres; the star marks the primary screen.
    lines = re.findall(r"^ *\d+: \+?(\*?)\S* (\d+)/\d+x(\d+)/\d+\+(\d+)\+(\d+)", done.stdout, re.MULTILINE)
    if not lines:
        raise ScreensUnknownError(f"No screen was found: {done.stderr.strip() or 'xrandr lists none'}. Is DISPLAY set?")
    lines.sort(key=lambda line: line[0] != "*")
    return [Screen(int(x), int(y), int(width), int(height)) for _, width, height, x, y in lines]
