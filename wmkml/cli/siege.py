"""Attack a cluster of its own in every way that visitors and accidents do, and count what held.

It takes minutes or hours, needs no running cluster and touches none. Ctrl-C ends it with a report of what was done.
Exit status: 0 when everything asked for was tried and held, 1 when not, 2 when its cluster did not come up.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wmkml.config.arguments import add_settings_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sections", metavar="NAMES", help="which, with commas between them (default: all)")
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="processes killed (default: 200)")
    parser.add_argument("--runs", type=int, default=300, metavar="N", help="runs with their rebirths (default: 300)")
    parser.add_argument("--stations", type=int, default=100, metavar="N", help="talk at once (default: 100)")
    parser.add_argument("--connections", type=int, default=10_000, metavar="N", help="opened (default: 10000)")
    parser.add_argument("--messages", type=int, default=2_000, metavar="N", help="sent to all routes (default: 2000)")
    parser.add_argument("--prompts", type=int, default=10_000, metavar="N", help="hostile ones (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of victims, moments, messages (default: 0)")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no new attack after so many")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report there as JSON, too")
    parser.add_argument("--keep", action="store_true", help="leave the cluster's data and logs to be looked at")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    from wmkml.siege import SECTIONS, SiegeOptions, run_siege

    names = SECTIONS if arguments.sections is None else tuple(arguments.sections.split(","))
    if unknown := [name for name in names if name not in SECTIONS]:
        print(f"--sections {','.join(unknown)} is not allowed; there are: {', '.join(SECTIONS)}.", file=sys.stderr)
        return 2
    numbers = {
        name: getattr(arguments, name) for name in ("kills", "runs", "stations", "connections", "messages", "prompts")
    }
    if wrong := [name for name, number in numbers.items() if number < 1]:
        print(f"--{wrong[0]} {numbers[wrong[0]]} is not allowed; allowed: a whole number from 1.", file=sys.stderr)
        return 2
    if arguments.report is not None and not arguments.report.resolve().parent.is_dir():
        print(f"--report {arguments.report}: its folder does not exist; make it first.", file=sys.stderr)
        return 2
    words: list[str] = []
    for name in ("config", "model", "engine"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name}", str(value.resolve() if isinstance(value, Path) else value)]
    for setting in arguments.settings:
        words += ["--set", setting]
    options = SiegeOptions(**numbers, seed=arguments.seed, minutes=arguments.minutes)
    return run_siege(words, names, options, arguments.report, arguments.keep)
