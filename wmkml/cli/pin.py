"""Show the PIN of the operator's desk, or change it; a new PIN takes effect at once, also while the cluster runs.

    python -m wmkml pin
    python -m wmkml pin 480213
    python -m wmkml pin --new

Everyone who is logged in at the desk must then enter the new PIN.
Exit status: 0, 1 when the PIN cannot be read or written, 2 for a PIN that is not allowed.
"""

from __future__ import annotations

import argparse
import sys

from wmkml.access.pin import PinUnusableError, change_pin, load_pin, random_pin
from wmkml.config.arguments import add_settings_arguments, settings_of
from wmkml.config.paths import paths_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "pin", nargs="?", metavar="PIN", help="the new PIN, 6 to 12 digits (default: show the current one)"
    )
    choice.add_argument("--new", action="store_true", help="choose a random one")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    paths = paths_of(*settings_of(arguments))
    new_pin = random_pin() if arguments.new else arguments.pin
    try:
        if new_pin is not None:
            change_pin(paths, new_pin)
        print(load_pin(paths))
    except PinUnusableError as error:
        print(error, file=sys.stderr)
        return 1 if new_pin is None else 2
    except OSError as error:
        print(f"{paths.pin}: {error.strerror}", file=sys.stderr)
        return 1
    return 0
