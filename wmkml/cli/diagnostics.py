"""Write what somebody elsewhere needs to help, as a zip: versions, settings, what is wrong, the ends of the logs.

No visitor's word, no key and no PIN is in it. It works while the installation runs and while it does not; the desk has a button
for the same. Exit status: 0 when it is written, 2 for a wrong setting or a file that cannot be written.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from wmkml.config import ConfigError
from wmkml.config.arguments import add_settings_arguments, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: diagnostics-DATE-TIME.zip in this folder")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    from wmkml.cli.doctor import report_of
    from wmkml.config.paths import paths_of
    from wmkml.launcher.operator_requests import OwnerRequestError, read_owner
    from wmkml.problems.diagnostics import pack_diagnostics

    arguments.quick, arguments.running = True, False
    try:
        settings, root = settings_of(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    parts = {"doctor.json": report_of(arguments).model_dump_json(indent=1)}
    for name, path in (("problems.json", "/operator/problems"), ("state.json", "/state")):
        try:
            parts[name] = read_owner(settings, root, path)
        except OwnerRequestError as error:
            parts[name] = str(error)
    out: Path = arguments.out or Path(time.strftime("diagnostics-%Y%m%d-%H%M%S.zip"))
    try:
        out.write_bytes(pack_diagnostics(settings, paths_of(settings, root), parts))
    except OSError as error:
        print(f"--out {out}: {error.strerror}. Name another file.", file=sys.stderr)
        return 2
    print(f"Written: {out}. No visitor's word, no key and no PIN is in it.")
    return 0
