"""Print what would run where on this machine, and every setting that differs from its default; start nothing.

The environment variable WMKML_GPUS replaces the detection of GPUs: 0, 3, or 3x80 (GiB each).
"""

from __future__ import annotations

import argparse
import sys

from wmkml.config import ConfigError
from wmkml.config.arguments import add_settings_arguments
from wmkml.launcher.machine import detect_machine, resolve_settings
from wmkml.system.gpus import GpusUnknownError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    from wmkml.launcher.launch import plan_of
    from wmkml.launcher.plan_text import plan_text

    try:
        machine = detect_machine()
        print(plan_text(plan_of(resolve_settings(arguments, machine), machine)))
    except (ConfigError, GpusUnknownError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
