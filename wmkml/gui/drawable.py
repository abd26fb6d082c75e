"""What people write, as this Tk can draw it: nothing somebody types or a model says may end the window.

Tk 8 keeps characters in 16 bits and hands emoji out in halves, which no JSON takes; an old Xft (below 2.3.5) ends the
whole program when it is to draw a coloured emoji.  There a square stands for each.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import tkinter

COLOURED_SINCE = 20305
"""Xft draws coloured glyphs since 2.3.5."""

SQUARE = "□"

# What fonts draw in colour: everything beyond 16 bits, and the older characters that Unicode's emoji-data calls
# Emoji_Presentation; the selector U+FE0F asks for colour.
_COLOURED = re.compile(
    "[\U00010000-\U0010ffff\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1"
    "\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728\u274c"
    "\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55]\ufe0f?|.\ufe0f",
    re.DOTALL,
)


def whole(text: str) -> str:
    """The text with halves of characters put together, and a replacement character for a half that is alone."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def drawable(text: str, colours: bool) -> str:
    """The text as Tk may draw it; without `colours` a square for each emoji."""
    complete = whole(text).replace("\0", "")
    return complete if colours else _COLOURED.sub(SQUARE, complete)


def draws_colours(tk: tkinter.Misc) -> bool:
    """Whether a coloured emoji can be drawn, or at least does no harm."""
    if tuple(int(part) for part in re.findall(r"\d+", str(tk.tk.call("info", "patchlevel")))) < (8, 6, 10):
        return False
    if tk.tk.call("tk", "windowingsystem") != "x11":
        return True
    name = ctypes.util.find_library("Xft") or "libXft.so.2"
    try:
        return int(ctypes.CDLL(name).XftGetVersion()) >= COLOURED_SINCE
    except OSError:
        return False  # Tk has its Xft built in, and tells nobody which
