"""Start, stop and see the installation; what ./master_script.sh runs once its environment is there.

Without a word it runs in the foreground until Ctrl-C.  `start` runs it in the background, `stop` ends it, `status` tells
a line for each process (exit status 3 when none lives, or not all are healthy).
Exit status: 0 when all went well, 1 when something must be mended before it can start, 2 for a wrong setting.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wmkml.cluster.arguments import Resolved, add_settings_arguments, resolve
from wmkml.cluster.machine import Machine, MachineError, detect
from wmkml.config import ConfigError
from wmkml.places import places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("start", "stop", "status"), help="default: run in the foreground")
    parser.add_argument("--plan", action="store_true", help="print what would run where, and start nothing")
    parser.add_argument(
        "--rehearse",
        type=int,
        metavar="N",
        help="boot the same cluster on free ports, play simulated visitors through a run of N rounds, end it",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="with --rehearse: write the JSON report there")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    if arguments.rehearse is not None and arguments.rehearse < 1:
        print(f"--rehearse {arguments.rehearse} is not allowed; allowed: a whole number from 1.", file=sys.stderr)
        return 2
    if arguments.report is not None and arguments.rehearse is None:
        print("--report belongs to --rehearse N.", file=sys.stderr)
        return 2
    if arguments.report is not None and not arguments.report.resolve().parent.is_dir():
        print(f"--report {arguments.report}: its folder does not exist; make it first.", file=sys.stderr)
        return 2
    try:
        machine = detect()
        resolved = resolve(arguments, machine)
    except (ConfigError, MachineError) as error:
        print(error, file=sys.stderr)
        return 2
    return _run(arguments, resolved, machine)


def _run(arguments: argparse.Namespace, resolved: Resolved, machine: Machine) -> int:
    from wmkml.cluster.launching import CannotStart, launch, plan_of

    where = places(resolved.settings, resolved.root)
    if arguments.plan:
        from wmkml.cluster.plan_text import told

        print(told(plan_of(resolved, machine)))
        return 0
    if arguments.what is not None:
        from wmkml.cluster import background

        match arguments.what:
            case "stop":
                return background.stop(where.data)
            case "status":
                return background.status(where.data)
            case _:
                return background.start(_foreground_words(arguments), where.data, where.logs)
    try:
        if arguments.rehearse is not None:
            from wmkml.cluster.rehearsing import rehearse

            return rehearse(resolved, machine, arguments.rehearse, arguments.report)
        return launch(plan_of(resolved, machine))
    except CannotStart as error:
        print(f"Nothing was started.\n{error}", file=sys.stderr)
        return 1


def _foreground_words(arguments: argparse.Namespace) -> list[str]:
    """The arguments that make the launcher in the background run with the same settings."""
    words: list[str] = []
    for name in ("config", "model", "engine"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name}", str(value)]
    for setting in arguments.settings:
        words += ["--set", setting]
    return words
