"""The PIN of the operator's desk: six to twelve digits, created at the first start, stored beside the keys.

It has a file of its own, so that an operator can read it.  Callers read the file at every check, so a changed PIN takes
effect at once.
"""

from __future__ import annotations

import re
import secrets

from wmkml.access.keys import create_private_file, replace_private_file
from wmkml.config.paths import Paths

PIN_DIGITS = 6
"""Digits of a generated PIN, and the fewest that a chosen one may have."""


class PinUnusableError(ValueError):
    """A proposed PIN, or the content of the PIN file, is not acceptable.  The text says what to do."""


def load_pin(paths: Paths) -> str:
    """The desk's PIN; the first call creates it.

    Raises:
        PinUnusableError: the file holds something else.
        OSError: the data folder cannot be written, or the file not read.
    """
    path = paths.pin
    if not path.exists():
        create_private_file(path, random_pin() + "\n")
    pin = path.read_text(encoding="utf-8", errors="replace").strip()
    if not _is_pin(pin):
        raise PinUnusableError(f"{path} does not hold a PIN; delete it, and a new one is made.")
    return pin


def change_pin(paths: Paths, pin: str) -> None:
    """Replace the desk's PIN.  Sessions opened with the previous one end.

    Raises:
        PinUnusableError: it is not six to twelve digits, or an obvious sequence.
    """
    if not _is_pin(pin):
        raise PinUnusableError(f"A PIN is {PIN_DIGITS} to 12 digits.")
    if _is_obvious(pin):
        raise PinUnusableError("This PIN would be the first one to be tried; take another.")
    replace_private_file(paths.pin, pin + "\n")


def random_pin() -> str:
    """A random PIN of PIN_DIGITS digits that is no obvious sequence."""
    while _is_obvious(pin := f"{secrets.randbelow(10**PIN_DIGITS):0{PIN_DIGITS}d}"):
        pass
    return pin


def _is_obvious(pin: str) -> bool:
    """Whether the digits only rise by one, only fall by one, or are all the same."""
    return pin in "01234567890123456789" or pin in "98765432109876543210" or len(set(pin)) == 1


def _is_pin(text: str) -> bool:
    return re.fullmatch(r"[0-9]{6,12}", text) is not None
