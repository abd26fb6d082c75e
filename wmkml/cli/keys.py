"""Show which keys the installation has, or rotate them; it may run meanwhile.

    python -m wmkml keys
    python -m wmkml keys rotate stage
    python -m wmkml keys rotate worker operator
    python -m wmkml keys take node < key.txt

A rotated key is valid at once, and the old one no longer: the desk's sessions end with the PIN, the stage's and the autopsy's
streams with the stage's or the operator's key. The services here read the new one by themselves. For a worker on another
machine the old key stays good for ten minutes, for the round that it trains and for no other. The stage's page on another
machine, a worker there, and nodes must be given the new key: it is printed. `take node` is for a node's machine; it reads
the head's new key from the terminal or from standard input.
Exit status: 0, 1 when a key cannot be read or written, 2 for a wrong argument.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from pathlib import Path

from wmkml.access.keys import KEY_NAMES, KeysUnreadableError
from wmkml.access.node_key import save_node_key
from wmkml.access.rotation import ROTATABLE, rotate
from wmkml.config.arguments import add_settings_arguments, settings_of
from wmkml.config.paths import Paths, paths_of

OPENS = {
    "stage": "every visitor's words, for the stage",
    "worker": "the rounds, for the worker",
    "operator": "everything; the launcher and the commands here use it",
    "pin": "the operator's desk",
    "node": "the machines that answer with the head",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("show", "rotate", "take"), default="show")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"with rotate: {', '.join(ROTATABLE)}; with take: node"
    )
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    settings, root = settings_of(arguments)
    paths = paths_of(settings, root)
    allowed = {"show": (), "rotate": ROTATABLE, "take": ("node",)}[arguments.what]
    wrong = [name for name in arguments.names if name not in allowed]
    if wrong or bool(arguments.names) != bool(allowed):
        names = ", ".join(allowed) or "no name"
        print(f"keys {arguments.what} {' '.join(arguments.names)}: allowed after it: {names}.", file=sys.stderr)
        return 2
    try:
        if arguments.what == "take":
            return _take(paths)
        if arguments.what == "show":
            _show(paths)
        for name in dict.fromkeys(arguments.names):
            print(f"{name:<9} {rotate(paths, name)}")
    except KeysUnreadableError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or paths.data}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _show(paths: Paths) -> None:
    """What each key opens, where it is, and since when; never the key."""
    for name in ROTATABLE:
        path = {"pin": paths.pin, "node": paths.node_key}.get(name, paths.keys)
        print(f"{name:<9} {path}  {_since(path):<18}  {OPENS[name]}")
    print(f"The file of {', '.join(KEY_NAMES)} is dated by the last rotation of any of them.")


def _since(path: Path) -> str:
    return time.strftime("since %d.%m.%Y", time.localtime(path.stat().st_mtime)) if path.exists() else "not made yet"


def _take(paths: Paths) -> int:
    key = getpass.getpass("The node key of the head: ") if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not (16 <= len(key) <= 256 and key.isascii() and key.isprintable() and " " not in key):
        print("This is no key; the head prints it: env/bin/python -m wmkml keys rotate node.", file=sys.stderr)
        return 2
    save_node_key(paths, key)
    print("The node's services take it from now on.")
    return 0
