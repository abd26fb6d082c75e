"""The key between head and nodes, which nothing else knows: with it a node is asked, and asks the head what it shall serve.

It is made by the head, in a file that only its owner's user can read, and given to each node by `--key`.  Services read the
file whenever they need the key: a rotated one takes effect at once, and a node that has not got it answers nothing.
"""

from __future__ import annotations

from wmkml.access.keys import create_private_file, new_key, replace_private_file
from wmkml.config.paths import Paths


def load_node_key(paths: Paths) -> str:
    """The key of this installation's nodes; the first call makes it."""
    if not paths.node_key.exists():
        create_private_file(paths.node_key, new_key() + "\n")
    return paths.node_key.read_text(encoding="utf-8").strip()


def save_node_key(paths: Paths, key: str) -> None:
    """Keep the head's key on a node."""
    replace_private_file(paths.node_key, key + "\n")


def rotate_node_key(paths: Paths) -> str:
    """Replace the key of this installation's nodes, and return the new one.  Each node needs it too (`wmkml keys take node`)."""
    key = new_key()
    save_node_key(paths, key)
    return key
