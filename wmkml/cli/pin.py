"""Show the PIN of the operator's desk, or change it; a new PIN takes effect at once, also while the cluster runs.

    python -m wmkml pin
    python -m wmkml pin 480213
    python -m wmkml pin --new
    python -m wmkml pin --login

Everyone who is logged in at the desk must then enter the new PIN.  `--login` prints a link that opens the desk once,
within ten minutes and without the PIN: for when somebody guesses so much that the right PIN has to wait.
Exit status: 0, 1 when the PIN cannot be read or written, 2 for a PIN that is not allowed.
"""

from __future__ import annotations

import argparse
import sys

from wmkml.access.login_link import LOGIN_LINK_PATH, make_login_token
from wmkml.access.pin import PinUnusableError, change_pin, load_pin, random_pin
from wmkml.config import Settings
from wmkml.config.addresses import owner_scheme
from wmkml.config.arguments import add_settings_arguments, settings_of
from wmkml.config.paths import Paths, paths_of
from wmkml.system.ports import own_address


def add_arguments(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "pin", nargs="?", metavar="PIN", help="the new PIN, 6 to 12 digits (default: show the current one)"
    )
    choice.add_argument("--new", action="store_true", help="choose a random one")
    choice.add_argument("--login", action="store_true", help="print a link that opens the desk once")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    settings, root = settings_of(arguments)
    paths = paths_of(settings, root)
    if arguments.login:
        return _print_login_links(settings, paths)
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


def _print_login_links(settings: Settings, paths: Paths) -> int:
    general = settings.general
    try:
        token = make_login_token(paths)
    except OSError as error:
        print(f"{paths.login_link}: {error.strerror}", file=sys.stderr)
        return 1
    hosts = [general.owner_host] if general.owner_host not in ("", "0.0.0.0", "::") else ["localhost", own_address()]
    for host in [*general.host_names, *hosts]:
        if host:
            name = f"[{host}]" if ":" in host else host
            print(f"{owner_scheme(settings)}://{name}:{general.owner_port}{LOGIN_LINK_PATH}?once={token}")
    return 0
