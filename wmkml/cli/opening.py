"""Open or close the running installation otherwise than its opening hours say, until these next change.

`open`: visitors may talk now. `close`: closed for tonight; a run that is under way says its last words. `hours`: as
general.opening_hours says. Exit status: 0 when it is so, 1 when the installation cannot be reached.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime

from wmkml.config import ConfigError
from wmkml.config.arguments import add_settings_arguments, settings_of

DECISIONS = {"open": "open", "close": "closed", "hours": "hours"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=DECISIONS)
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    from wmkml.launcher.operator_requests import OwnerRequestError, ask_owner

    try:
        state = ask_owner(*settings_of(arguments), "/operator/opening", {"decision": DECISIONS[arguments.what]})
    except (ConfigError, OwnerRequestError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    change = state["next_change"]
    until = "" if change is None else f" until {datetime.fromtimestamp(change):%A, %Y-%m-%d %H:%M}"
    print(("Open" if state["open"] else "Closed") + until + ".")
    return 0
