"""The PIN of the operator's desk: six digits or more, made at the first start, kept beside the keys, and changed at will.

A file of its own, so that an operator can read it, and so that a new one counts at once: whoever checks it reads it then.
Knows nothing of sessions and of who guesses.
"""

from __future__ import annotations

import re
import secrets

from wmkml.keys import write_anew, write_first
from wmkml.places import Places

DIGITS = 6


class PinUnusable(ValueError):
    """What shall be the PIN, or what the file holds, is none.  The text says what to do."""


def load_pin(places: Places) -> str:
    """The desk's PIN; the first call makes it.

    Raises:
        PinUnusable: the file holds something else.
        OSError: the data folder cannot be written, or the file not read.
    """
    path = places.pin
    if not path.exists():
        write_first(path, fresh_pin() + "\n")
    pin = path.read_text(encoding="utf-8", errors="replace").strip()
    if not _is_pin(pin):
        raise PinUnusable(f"{path} does not hold a PIN; delete it, and a new one is made.")
    return pin


def change_pin(places: Places, pin: str) -> None:
    """From now on this PIN opens the desk, and whoever came in with the one before is out.

    Raises:
        PinUnusable: it is not six to twelve digits, or one that everybody tries first.
    """
    if not _is_pin(pin):
        raise PinUnusable(f"A PIN is {DIGITS} to 12 digits.")
    if _is_tried_first(pin):
        raise PinUnusable("This PIN would be the first one to be tried; take another.")
    write_anew(places.pin, pin + "\n")


def fresh_pin() -> str:
    """A PIN nobody can foresee."""
    while _is_tried_first(pin := f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"):
        pass
    return pin


def _is_tried_first(pin: str) -> bool:
    return pin in "01234567890123456789" or pin in "98765432109876543210" or len(set(pin)) == 1


def _is_pin(text: str) -> bool:
    return re.fullmatch(r"[0-9]{6,12}", text) is not None
