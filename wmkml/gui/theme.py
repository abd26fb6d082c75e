"""How the window looks: a dark, calm palette, the machine's own fonts, and the ttk styles made of them.

Tk counts font sizes in points and everything else in pixels: `Theme.px` scales the pixels on finer screens.
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

DEFAULT_SCALING = 96 / 72
"""Tk's scaling at 100 %: pixels per point on a screen of 96 dpi."""

SERIF = ("Literata", "Literata Variable", "Iowan Old Style", "Palatino", "Source Serif 4", "Noto Serif", "Georgia")
SANS = ("Inter", "Inter Variable", "Cantarell", "Noto Sans", "Segoe UI", "Helvetica Neue")
MONO = ("JetBrains Mono", "Source Code Pro", "Noto Sans Mono", "Menlo", "Consolas")


@dataclass(frozen=True)
class Theme:
    """The chosen fonts and the scale.  The window must hold it: Tk deletes a named font with its Python object.

    Attributes:
        factor: pixels of this screen per pixel at 100 %.
        serif: the family of the answers' font.
    """

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
        """Pixels at 100 %, scaled to this screen."""
        return round(pixels * self.factor)


def apply_desktop_scaling(tk: tkinter.Tk) -> None:
    """Scale Tk as the desktop wants.  Most desktops set the X resource `Xft.dpi` alone, which Tk 8 does not read."""
    dpi = desktop_dpi(tk)
    if dpi is not None:
        tk.tk.call("tk", "scaling", dpi / 72)


def desktop_dpi(tk: tkinter.Tk) -> float | None:
    """The X resource `Xft.dpi`, in dots per inch; None where it is not set or implausible."""
    # Tk looks up resources under the program's own class only, so a second Tk of the class Xft reads this one.
    reader = tkinter.Tk(screenName=tk.winfo_screen(), className="Xft")
    try:
        reader.withdraw()
        with contextlib.suppress(ValueError):
            dpi = float(reader.tk.call("option", "get", ".", "dpi", "Dpi"))
            return dpi if 48 <= dpi <= 960 else None
        return None
    finally:
        reader.destroy()


def apply_theme(tk: tkinter.Tk) -> Theme:
    """Configure the window's background and ttk styles; returns the fonts and the scale."""
    installed = set(font.families(tk))

    def family(*wanted: str) -> str:
        default = font.nametofont("TkDefaultFont", tk).actual("family")
        return next((name for name in wanted if name in installed), default)

    sans, serif, mono = family(*SANS, "DejaVu Sans"), family(*SERIF, "DejaVu Serif"), family(*MONO, "DejaVu Sans Mono")
    theme = Theme(
        factor=float(tk.tk.call("tk", "scaling")) / DEFAULT_SCALING,
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
    _configure_styles(tk, theme)
    return theme


def _configure_styles(tk: tkinter.Tk, theme: Theme) -> None:
    px = theme.px
    style = ttk.Style(tk)
    style.theme_use("clam")
    style.configure(".", background=GROUND, foreground=TEXT, font=theme.plain, borderwidth=0)
    style.configure("Lead.TLabel", font=theme.lead)
    style.configure("Soft.TLabel", foreground=SOFT, font=theme.small)
    style.configure("Trouble.TLabel", foreground=TROUBLE, font=theme.small)
    for name, ground, border, ink, padding in (
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
            padding=tuple(px(side) for side in padding),
            font=theme.plain if name == "TButton" else theme.small,
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


def blend(ground: str, ink: str, opacity: float) -> str:
    """The colour of `ink` laid over `ground` with an opacity from 0 to 1; all colours as `#rrggbb`."""
    pairs = [(int(ground[at : at + 2], 16), int(ink[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#{:02x}{:02x}{:02x}".format(*(round(under * (1 - opacity) + over * opacity) for under, over in pairs))
