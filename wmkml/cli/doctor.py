"""Check this machine and this installation: what is wrong, what it means, and the command that mends it.

Every check has a mark: ✓ in order, ! to be noted, ✗ to be mended, – does not apply here or could not be checked.
Changes nothing; it may run while the cluster runs.  `docs/doctor.md` lists every check.
Exit status: 0 where nothing is ✗, else 1.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from wmkml.config import ConfigError
from wmkml.config.arguments import add_settings_arguments
from wmkml.doctor.examination import examine, exit_status, locale_language, report_text
from wmkml.doctor.facts import Facts
from wmkml.doctor.observing import machine_facts, program_facts
from wmkml.protocol.doctor import DoctorReport
from wmkml.system.gpus import GpusUnknownError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", choices=("de", "en"), help="of the text (default: by the locale)")
    parser.add_argument(
        "--json", metavar="FILE", help="write the report as JSON there; -: to standard output, in place of the text"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out what takes seconds: torch on every GPU, the disk's speed, OSC"
    )
    parser.add_argument(
        "--running",
        action="store_true",
        help="the installation runs now, so ports and GPUs are its own (default: if its launcher lives)",
    )
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    report = report_of(arguments)
    text = report.model_dump_json(indent=1) + "\n"
    if arguments.json == "-":
        sys.stdout.write(text)
        return exit_status(report)
    if arguments.json is not None:
        try:
            Path(arguments.json).write_text(text, encoding="utf-8")
        except OSError as error:
            print(f"--json {arguments.json}: {error.strerror}", file=sys.stderr)
            return 2
    print(report_text(report, arguments.language or locale_language()))
    return exit_status(report)


def report_of(arguments: argparse.Namespace) -> DoctorReport:
    """What the doctor finds with these arguments; settings that cannot be read are a finding too."""
    from wmkml.launcher.cluster_record import read_record
    from wmkml.launcher.launch import plan_of
    from wmkml.launcher.machine import detect_machine, resolve_settings
    from wmkml.launcher.preflight import examine_plan
    from wmkml.launcher.settings_file import with_folders_and_ports

    try:
        machine = detect_machine()
        plan = plan_of(resolve_settings(arguments, machine), machine)
    except (ConfigError, GpusUnknownError) as error:
        return examine(Facts(machine_facts(()), program_facts(()), None, str(error)))
    plan = replace(plan, settings=with_folders_and_ports(plan.settings, plan.paths))
    runs = arguments.running or read_record(plan.paths.data) is not None
    return examine_plan(plan, thorough=not arguments.quick, cluster_runs=runs)
