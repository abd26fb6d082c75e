"""How the window looks: a dark, calm palette, the machine's own fonts, and the ttk styles made of them.  Knows no content.

Tk counts font sizes in points and everything else in pixels: `Look.px` brings the pixels along where the screen is finer.
"""

from __future__ import annotations

import contextlib
import tkinter
from dataclasses import dataclass
from tkinter import font, ttk

# The colours of the pages (frontend/src/lib/theme.css).
GROUND, RAISED, LINE = "#121317", "#1b1d23", "#30343d"
TEXT, SOFT, WARM, COLD, TROUBLE = "#ece7db", "#a3a6ad", "#e0ad5c", "#7fb2d9", "#ef9a84"
DISABLED = "#6b6f77"

PLAIN_SCALING = 96 / 72
"""Pixels a point at 100 %."""

SERIF = ("Literata", "Literata Variable", "Iowan Old Style", "Palatino", "Source Serif 4", "Noto Serif", "Georgia")
SANS = ("Inter", "Inter Variable", "Cantarell", "Noto Sans", "Segoe UI", "Helvetica Neue")
MONO = ("JetBrains Mono", "Source Code Pro", "Noto Sans Mono", "Menlo", "Consolas")


@dataclass(frozen=True)
class Look:
    """Fonts of this machine, and how many pixels are one at 100 %.  Kept by the window: Tk takes away unheld fonts."""

    factor: float
    serif: str
    title: font.Font
    lead: font.Font
    answer: font.Font
    prompt: font.Font
    plain: font.Font
    small: font.Font
    mono: font.Font

    def px(self, pixels: float) -> int:
        """So many pixels of a screen at 100 % are so many here."""
        return round(pixels * self.factor)


def scale(tk: tkinter.Tk) -> None:
    """Draw as large as the desktop wants: most desktops tell it in the resource `Xft.dpi` alone, which Tk 8 does not read."""
    dots = desktop_dots(tk)
    if dots is not None:
        tk.tk.call("tk", "scaling", dots / 72)


def desktop_dots(tk: tkinter.Tk) -> float | None:
    """Dots an inch by the X resource `Xft.dpi`; none where there is no such thing."""
    # Tk looks up resources under a program's own class only, so somebody of the class Xft has to ask.
    asker = tkinter.Tk(screenName=tk.winfo_screen(), className="Xft")
    try:
        asker.withdraw()
        with contextlib.suppress(ValueError):
            dots = float(asker.tk.call("option", "get", ".", "dpi", "Dpi"))
            return dots if 48 <= dots <= 960 else None
        return None
    finally:
        asker.destroy()


def dress(tk: tkinter.Tk) -> Look:
    """Give the window its ttk styles; returns its fonts and measure."""
    there = set(font.families(tk))

    def family(wanted: tuple[str, ...], *last: str) -> str:
        default = font.nametofont("TkDefaultFont", tk).actual("family")
        return next((one for one in (*wanted, *last) if one in there), default)

    sans, serif, mono = family(SANS, "DejaVu Sans"), family(SERIF, "DejaVu Serif"), family(MONO, "DejaVu Sans Mono")
    look = Look(
        factor=float(tk.tk.call("tk", "scaling")) / PLAIN_SCALING,
        serif=serif,
        title=font.Font(tk, family=serif, size=34),
        lead=font.Font(tk, family=serif, size=17),
        answer=font.Font(tk, family=serif, size=17),
        prompt=font.Font(tk, family=sans, size=12),
        plain=font.Font(tk, family=sans, size=12),
        small=font.Font(tk, family=sans, size=9),
        mono=font.Font(tk, family=mono, size=8),
    )
    tk.configure(background=GROUND)
    _style(tk, look)
    return look


def _style(tk: tkinter.Tk, look: Look) -> None:
    px = look.px
    style = ttk.Style(tk)
    style.theme_use("clam")
    style.configure(".", background=GROUND, foreground=TEXT, font=look.plain, borderwidth=0)
    style.configure("Lead.TLabel", font=look.lead)
    style.configure("Soft.TLabel", foreground=SOFT, font=look.small)
    style.configure("Trouble.TLabel", foreground=TROUBLE, font=look.small)
    for name, ground, border, ink, room in (
        ("TButton", RAISED, LINE, TEXT, (18, 11)),
        ("Flat.TButton", GROUND, GROUND, SOFT, (8, 4)),
        ("Chosen.Flat.TButton", GROUND, GROUND, WARM, (8, 4)),
    ):
        style.configure(
            name,
            background=ground,
            foreground=ink,
            bordercolor=border,
            lightcolor=ground,
            darkcolor=ground,
            focuscolor=ground,
            borderwidth=1,
            relief="raised",
            anchor="center",
            width=-6 if name == "TButton" else 0,
            padding=tuple(px(one) for one in room),
            font=look.plain if name == "TButton" else look.small,
        )
        style.map(
            name,
            background=[("active", LINE), ("disabled", GROUND)],
            foreground=[("disabled", DISABLED)],
            bordercolor=[("focus", WARM), ("active", LINE)],
            lightcolor=[("focus", WARM), ("active", LINE), ("disabled", GROUND)],
            darkcolor=[("focus", WARM), ("active", LINE), ("disabled", GROUND)],
        )
    style.configure(
        "TEntry",
        fieldbackground=RAISED,
        foreground=TEXT,
        insertcolor=WARM,
        insertwidth=px(2),
        bordercolor=LINE,
        lightcolor=RAISED,
        darkcolor=RAISED,
        borderwidth=1,
        padding=(px(14), px(11)),
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


def mixed(ground: str, ink: str, part: float) -> str:
    """`part` (0 to 1) of `ink` on `ground`, all as `#rrggbb`."""
    pairs = [(int(ground[at : at + 2], 16), int(ink[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#{:02x}{:02x}{:02x}".format(*(round(under * (1 - part) + over * part) for under, over in pairs))
