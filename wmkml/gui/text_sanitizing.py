"""Makes any text safe to insert into this Tk's widgets and to send as JSON.

Tk 8 keeps characters in 16 bits and returns emoji as surrogate pairs, which cannot be encoded in UTF-8; Xft before
2.3.5 crashes the process when it draws a coloured emoji.  On such a system each emoji is replaced by a square.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import tkinter

FIRST_SAFE_XFT = 20305
"""The first Xft version that draws coloured glyphs (2.3.5), as `XftGetVersion` encodes it."""

SQUARE = "□"

# What fonts draw in colour: everything beyond 16 bits, and the older characters that Unicode's emoji-data calls
# Emoji_Presentation; the selector U+FE0F asks for colour.
_COLOUR_EMOJI = re.compile(
    "[\U00010000-\U0010ffff\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1"
    "\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728\u274c"
    "\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55]\ufe0f?|.\ufe0f",
    re.DOTALL,
)


def join_surrogates(text: str) -> str:
    """The text with surrogate pairs joined; a lone surrogate becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def displayable(text: str, colour_emoji: bool) -> str:
    """The text as Tk can draw it: no NUL, no lone surrogate, and a square for each emoji unless `colour_emoji`."""
    joined = join_surrogates(text).replace("\0", "")
    return joined if colour_emoji else _COLOUR_EMOJI.sub(SQUARE, joined)


def draws_colour_emoji(tk: tkinter.Misc) -> bool:
    """Whether this Tk draws a coloured emoji, or at least survives it."""
    if tuple(int(part) for part in re.findall(r"\d+", str(tk.tk.call("info", "patchlevel")))) < (8, 6, 10):
        return False
    if tk.tk.call("tk", "windowingsystem") != "x11":
        return True
    library = ctypes.util.find_library("Xft") or "libXft.so.2"
    try:
        return int(ctypes.CDLL(library).XftGetVersion()) >= FIRST_SAFE_XFT
    except OSError:
        return False  # Tk is linked with an Xft of its own, whose version cannot be read.
