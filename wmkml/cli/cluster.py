"""Start and stop the installation, and show its status; ./master_script.sh calls this once its environment is there.

Without an action it runs in the foreground until Ctrl-C.  `start` runs it in the background, `stop` ends it, `status`
prints a line for each process, and every problem with what to do (exit status 3 when none runs, or not all are healthy).
Exit status: 0 when all went well, 1 when something must be mended before it can start, 2 for a wrong setting.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wmkml.access.node_key import save_node_key
from wmkml.config import ConfigError
from wmkml.config.arguments import ResolvedSettings, add_settings_arguments
from wmkml.config.paths import PROJECT, paths_of
from wmkml.launcher.machine import Machine, detect_machine, resolve_settings
from wmkml.system.gpus import GpusUnknownError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("start", "stop", "status"), help="default: run in the foreground")
    parser.add_argument("--plan", action="store_true", help="print what would run where, and start nothing")
    parser.add_argument(
        "--rehearse",
        type=int,
        metavar="N",
        help="start the same cluster on free ports, rehearse a run of N rounds with simulated visitors, end it",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="with --rehearse: write the JSON report there")
    parser.add_argument(
        "--join",
        metavar="HEAD",
        help="be a node of the installation at this address: answer for it, with this machine's engine",
    )
    parser.add_argument("--key", help="with --join: the key that the head prints; kept, so that it is given once")
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="FOLDER",
        help="a LoRA adapter, as `wmkml finetune` writes it, merged into the model: an artist's voice as iteration −1",
    )
    parser.add_argument(
        "--install-service",
        action="store_true",
        help="have systemd start the installation with the machine, and again whenever it fails, with these options",
    )
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
    if arguments.join is None and arguments.key is not None:
        print("--key belongs to --join HEAD.", file=sys.stderr)
        return 2
    if arguments.join is not None and arguments.rehearse is not None:
        print("--rehearse is for a head: a node plays no visitors.", file=sys.stderr)
        return 2
    if arguments.install_service and (arguments.what or arguments.plan or arguments.rehearse is not None):
        print("--install-service installs what runs in the foreground: give it without an action.", file=sys.stderr)
        return 2
    try:
        machine = detect_machine()
        resolved = resolve_settings(arguments, machine)
        if arguments.adapter is not None:
            arguments.adapter = arguments.adapter.resolve()
            resolved = _with_voice(arguments, resolved)
    except (ConfigError, GpusUnknownError) as error:
        print(error, file=sys.stderr)
        return 2
    return _run(arguments, resolved, machine)


def _with_voice(arguments: argparse.Namespace, resolved: ResolvedSettings) -> ResolvedSettings:
    """The settings with the adapter merged into the model, if something is about to be started in this process."""
    from wmkml.finetuning.voices.voice import check_voice, with_voice

    check_voice(arguments.adapter)
    if arguments.plan or arguments.what is not None:
        # `start` calls this program again, in the background.
        return resolved
    merged = with_voice(resolved, arguments.adapter, arguments.config)
    if arguments.join is not None:
        arguments.model = merged.settings.general.model_name
    return merged


def _run(arguments: argparse.Namespace, resolved: ResolvedSettings, machine: Machine) -> int:
    from wmkml.launcher.launch import CannotStartError, launch, plan_of

    paths = paths_of(resolved.settings, resolved.root)
    if arguments.key is not None:
        save_node_key(paths, arguments.key)
    joins = arguments.join is not None and arguments.what is None
    if arguments.plan and not joins:
        from wmkml.launcher.plan_text import plan_text

        print(plan_text(plan_of(resolved, machine)))
        return 0
    if arguments.install_service:
        from wmkml.launcher.service_unit import install_service

        exit_status, text = install_service(PROJECT, _foreground_arguments(arguments))
        print(text, file=sys.stderr if exit_status else sys.stdout)
        return exit_status
    if arguments.what is not None:
        from wmkml.doctor.examination import locale_language
        from wmkml.launcher import commands

        match arguments.what:
            case "stop":
                return commands.stop(paths.data)
            case "status":
                return commands.status(paths, locale_language())
            case _:
                return commands.start(_foreground_arguments(arguments), paths.data, paths.logs)
    try:
        if joins:
            from wmkml.launcher.nodes.node import run_node

            return run_node(resolved, machine, arguments.join, arguments.model, only_plan=arguments.plan)
        if arguments.rehearse is not None:
            from wmkml.launcher.rehearsal import rehearse

            return rehearse(resolved, machine, arguments.rehearse, arguments.report)
        return launch(plan_of(resolved, machine))
    except CannotStartError as error:
        print(f"Nothing was started.\n{error}", file=sys.stderr)
        return 1


def _foreground_arguments(arguments: argparse.Namespace) -> list[str]:
    """The command-line arguments that give the launcher in the background the same settings."""
    words: list[str] = []
    for name in ("config", "model", "engine", "join", "adapter"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name}", str(value.resolve() if isinstance(value, Path) else value)]
    for setting in arguments.settings:
        words += ["--set", setting]
    return words
