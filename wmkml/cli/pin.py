"""Show the PIN of the operator's desk, or change it; a new one counts at once, also while the cluster runs.

    python -m wmkml pin
    python -m wmkml pin 480213
    python -m wmkml pin --new

Whoever was at the desk with the PIN before must enter the new one.
Exit status: 0, 1 when the PIN cannot be read or written, 2 for a PIN that is none.
"""

from __future__ import annotations

import argparse
import sys

from wmkml.cluster.arguments import add_settings_arguments, settings_of
from wmkml.pin import PinUnusable, change_pin, fresh_pin, load_pin
from wmkml.places import places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "pin", nargs="?", metavar="PIN", help="the new PIN, 6 to 12 digits (default: show the present one)"
    )
    given.add_argument("--new", action="store_true", help="let chance choose a new one")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    where = places(*settings_of(arguments))
    wanted = fresh_pin() if arguments.new else arguments.pin
    try:
        if wanted is not None:
            change_pin(where, wanted)
        print(load_pin(where))
    except PinUnusable as error:
        print(error, file=sys.stderr)
        return 1 if wanted is None else 2
    except OSError as error:
        print(f"{where.pin}: {error.strerror}", file=sys.stderr)
        return 1
    return 0
