"""Let simulated visitors talk through one whole run of a running cluster, and report.

The cluster must be waiting for a language; the rehearsal starts the run and follows it to its end, for as long as the
settings make it.  `./master_script.sh --rehearse N` does the same with a cluster of its own, in a shortened run.
Exit status: 0 when everything was right, 1 when something was not, 2 when the rehearsal could not begin.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from wmkml.config import load_settings
from wmkml.config.arguments import add_settings_arguments, settings_of
from wmkml.config.paths import paths_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--owner", metavar="URL", help="the owner's address (default: this machine, at the port of the settings)"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write the JSON report there instead of printing it"
    )
    parser.add_argument("--stations", type=int, default=3, metavar="N", help="how many visitors talk (default: 3)")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="record the run for /stage?replay=NAME, in stage/recordings/NAME.jsonl.gz",
    )
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    settings, root = settings_of(arguments)
    # The running cluster has the settings that the launcher wrote, even if config.yaml has changed since.
    written = paths_of(settings, root).data / "settings.yaml"
    if written.is_file():
        settings = load_settings(written)
    from wmkml.rehearsal import run_rehearsal

    stations = max(1, arguments.stations)
    return run_rehearsal(
        settings,
        root,
        owner=arguments.owner,
        stations=stations,
        report=arguments.report,
        record=arguments.record,
    )
