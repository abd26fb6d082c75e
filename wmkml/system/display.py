"""Whether a window can be opened on this machine.  Standard library only."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping


def has_display(environment: Mapping[str, str]) -> bool:
    """Whether the Tk window can open: there is a screen (macOS always has one) and this Python was built with Tk."""
    screen = sys.platform == "darwin" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    return screen and importlib.util.find_spec("_tkinter") is not None
