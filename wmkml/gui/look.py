"""How the window looks: a dark, calm palette, system fonts, and the ttk styles made of them.  Knows no content."""

from __future__ import annotations

import tkinter
from dataclasses import dataclass
from tkinter import font, ttk

GROUND, RAISED, LINE = "#14161a", "#1b1e24", "#2c313a"
TEXT, SOFT, WARM, TROUBLE = "#e8e4da", "#9a9da3", "#d8a657", "#e0907a"

SHADES = 8
"""So many steps between a token the model was sure of and one it was not."""


@dataclass(frozen=True)
class Fonts:
    """Fonts of this machine, as Tk wants them."""

    title: font.Font
    plain: font.Font
    small: font.Font
    answer: font.Font


def dress(tk: tkinter.Tk) -> Fonts:
    """Give the window its ttk styles; returns its fonts."""
    there = set(font.families(tk))

    def family(*wanted: str) -> str:
        return next((one for one in wanted if one in there), font.nametofont("TkDefaultFont", tk).actual("family"))

    sans = family("Inter", "Cantarell", "Noto Sans", "Segoe UI", "DejaVu Sans")
    serif = family("Iowan Old Style", "Palatino", "Source Serif 4", "Noto Serif", "Georgia", "DejaVu Serif")
    fonts = Fonts(
        title=font.Font(tk, family=serif, size=20),
        plain=font.Font(tk, family=sans, size=11),
        small=font.Font(tk, family=sans, size=10),
        answer=font.Font(tk, family=serif, size=16),
    )
    tk.configure(background=GROUND)
    style = ttk.Style(tk)
    style.theme_use("clam")
    style.configure(".", background=GROUND, foreground=TEXT, font=fonts.plain, borderwidth=0)
    style.configure("Title.TLabel", font=fonts.title)
    style.configure("Soft.TLabel", foreground=SOFT, font=fonts.small)
    style.configure("Trouble.TLabel", foreground=TROUBLE, font=fonts.small)
    style.configure(
        "TButton",
        background=RAISED,
        foreground=TEXT,
        bordercolor=LINE,
        lightcolor=RAISED,
        darkcolor=RAISED,
        focuscolor=WARM,
        borderwidth=1,
        relief="raised",
        padding=(16, 9),
    )
    style.map(
        "TButton",
        background=[("active", LINE), ("disabled", GROUND)],
        foreground=[("disabled", "#6b6f77")],
        bordercolor=[("focus", WARM), ("active", WARM)],
        lightcolor=[("active", LINE), ("disabled", GROUND)],
        darkcolor=[("active", LINE), ("disabled", GROUND)],
    )
    style.configure("Chosen.TButton", foreground=WARM, bordercolor=WARM)
    style.configure(
        "TEntry",
        fieldbackground=RAISED,
        foreground=TEXT,
        insertcolor=WARM,
        bordercolor=LINE,
        lightcolor=RAISED,
        darkcolor=RAISED,
        borderwidth=1,
        padding=(10, 9),
        selectbackground=WARM,
        selectforeground=GROUND,
    )
    style.map(
        "TEntry",
        bordercolor=[("focus", WARM)],
        lightcolor=[("focus", RAISED)],
        darkcolor=[("focus", RAISED)],
        fieldbackground=[("disabled", GROUND)],
    )
    return fonts


def shade(probability: float) -> int:
    """Which of the SHADES a token gets; the last is the surest."""
    return min(SHADES - 1, max(0, int(probability * SHADES)))


def shade_color(number: int) -> str:
    """The text's colour, half faded into the ground for the least sure, as `#rrggbb`."""
    part = 0.45 + 0.55 * number / (SHADES - 1)
    mixed = [round(int(GROUND[at : at + 2], 16) * (1 - part) + int(TEXT[at : at + 2], 16) * part) for at in (1, 3, 5)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)
