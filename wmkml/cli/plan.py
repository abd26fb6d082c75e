"""Print what would run where on this machine, and every setting that differs from its default; start nothing.

The environment variable WMKML_GPUS replaces the detection of GPUs: 0, 3, or 3x80 (GiB each).
"""

from __future__ import annotations

import argparse
import sys

from wmkml.cluster.arguments import add_settings_arguments, resolve
from wmkml.cluster.machine import MachineError, detect
from wmkml.config import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    from wmkml.cluster.launching import plan_of
    from wmkml.cluster.plan_text import told

    try:
        machine = detect()
        print(told(plan_of(resolve(arguments, machine), machine)))
    except (ConfigError, MachineError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
