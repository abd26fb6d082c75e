"""Rotates any secret of the installation by its name: one list for the command and for the desk."""

from __future__ import annotations

from typing import Literal, get_args

from wmkml.access.keys import rotate_key
from wmkml.access.node_key import rotate_node_key
from wmkml.access.pin import change_pin, random_pin
from wmkml.config.paths import Paths

Rotatable = Literal["stage", "worker", "operator", "pin", "node"]

ROTATABLE: tuple[Rotatable, ...] = get_args(Rotatable)


def rotate(paths: Paths, name: Rotatable) -> str:
    """Replace a key, or the desk's PIN, and return the new one.  Services that run know it at once.

    Raises:
        KeysUnreadableError: the key file is invalid; nothing has changed.
        OSError: the data folder cannot be written.
    """
    if name == "pin":
        pin = random_pin()
        change_pin(paths, pin)
        return pin
    return rotate_node_key(paths) if name == "node" else rotate_key(paths, name)
