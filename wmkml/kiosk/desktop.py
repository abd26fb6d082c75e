"""The X session of a kiosk: no screen saver, and no key that leads out of a page; put back when the kiosk ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

AWAKE = (["xset", "s", "off"], ["xset", "s", "noblank"], ["xset", "-dpms"])
"""Neither screen saver nor standby.  A server without DPMS refuses the last, and needs none."""

NO_WAY_OUT = (
    # Without these no shortcut of browser or desktop is left.  AltGr stays: German keyboards need it for @ and €.
    "clear control",
    "clear mod1",
    "clear mod4",
    *(f"keysym {name} = NoSymbol" for name in ("Control_L", "Control_R", "Alt_L", "Super_L", "Super_R", "Menu")),
    *(f"keysym F{number} = NoSymbol" for number in range(1, 13)),
    *(f"keysym XF86{name} = NoSymbol" for name in ("Back", "Forward", "Reload", "HomePage", "WWW", "Search")),
)
"""For xmodmap: the keys that reach past the page."""


@contextmanager
def kiosk_desktop(report: Callable[[str], None], *, keep_keys: bool = False) -> Iterator[None]:
    """Hold the display awake and its keyboard without ways out.

    Args:
        report: gets a line for whatever cannot be done; the kiosk runs all the same.
        keep_keys: leave the keyboard as it is.
    """
    for command in AWAKE:
        _run(command, report)
    if keep_keys:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        saved, display = str(Path(folder) / "keyboard.xkb"), os.environ.get("DISPLAY", ":0")
        if not _run(["xkbcomp", "-w", "0", display, saved], report):
            yield
            return
        # A key that this keyboard lacks makes xmodmap skip that line alone.
        for line in NO_WAY_OUT:
            _run(["xmodmap", "-e", line], report if line.startswith("clear") else _unheard)
        try:
            yield
        finally:
            _run(["xkbcomp", "-w", "0", saved, display], report)


def _unheard(line: str) -> None:
    """A keyboard without such a key is as good as one where it does nothing."""


def _run(command: list[str], report: Callable[[str], None]) -> bool:
    """Run a program of X; False, and a line for the operator, if that failed."""
    if shutil.which(command[0]) is None:
        package = "x11-xkb-utils" if command[0] == "xkbcomp" else "x11-xserver-utils"
        report(f"{command[0]} is missing, so `{' '.join(command)}` was left out. On Debian: apt-get install {package}.")
        return False
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and command != AWAKE[2]:
        report(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
    return done.returncode == 0
