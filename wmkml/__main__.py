"""`python -m wmkml COMMAND …`: finds the command's file in `wmkml/cli/` and calls it.

Knows no command by name and imports only the one asked for, so that `--help` and the light commands never load torch.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = Path(__file__).parent / "cli"


def summaries() -> dict[str, str]:
    """Every command's name and the first line of its file's docstring, read without importing the file."""
    found = {}
    for path in sorted(COMMANDS.glob("[a-z]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem.replace("_", "-")] = text.partition("\n")[0]
    return found


def command_parser(name: str) -> argparse.ArgumentParser:
    """The argument parser of one command, as its `--help` shows it."""
    module = importlib.import_module(f"wmkml.cli.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"python -m wmkml {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    parser.set_defaults(main=module.main)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.  Returns its exit status; 2 when there is no such command."""
    words = list(sys.argv[1:] if argv is None else argv)
    commands = summaries()
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m wmkml COMMAND [--help]\n")
        for name, summary in commands.items():
            print(f"  {name:<16} {summary}")
        return 0 if words else 2
    name, rest = words[0], words[1:]
    if name not in commands:
        print(f"There is no command {name!r}. There are: {', '.join(commands)}.", file=sys.stderr)
        return 2
    arguments = command_parser(name).parse_args(rest)
    return int(arguments.main(arguments))


if __name__ == "__main__":
    sys.exit(main())
