"""Play simulated visitors through one whole run of a running cluster, and report.

The cluster must be waiting for a language; the rehearsal starts the run and lives through it, as long as its settings
make it.  `./master_script.sh --rehearse N` does the same with a cluster of its own, in a run made short.
Exit status: 0 when everything was right, 1 when not, 2 when the rehearsal could not begin.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from wmkml.cluster.arguments import add_settings_arguments, settings_of
from wmkml.config import load_settings
from wmkml.places import places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--owner", metavar="URL", help="default: this machine, at the port of the settings")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write the JSON report there instead of printing it"
    )
    parser.add_argument("--stations", type=int, default=3, metavar="N", help="how many visitors talk (default: 3)")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    settings, root = settings_of(arguments)
    # What the launcher wrote is what is running, whatever config.yaml has become since.
    written = places(settings, root).data / "settings.yaml"
    if written.is_file():
        settings = load_settings(written)
    from wmkml.rehearsal import play

    return play(settings, root, owner=arguments.owner, stations=max(1, arguments.stations), report=arguments.report)
