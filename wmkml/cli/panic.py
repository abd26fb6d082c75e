"""Stop the running installation at once: the stage goes dark and silent, and nothing is answered; `panic off` lets it go on.

The run, what was said and its training stay. The desk has a button for the same.
Exit status: 0 when it is so, 1 when the installation cannot be reached.
"""

from __future__ import annotations

import argparse
import sys

from wmkml.config import ConfigError
from wmkml.config.arguments import add_settings_arguments, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("on", "off"), default="on")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    from wmkml.launcher.operator_requests import OwnerRequestError, ask_owner

    try:
        ask_owner(*settings_of(arguments), "/operator/panic", {"on": arguments.what == "on"})
    except (ConfigError, OwnerRequestError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    print("Everything is stopped; `wmkml panic off` lets it go on." if arguments.what == "on" else "It goes on.")
    return 0
