"""`python -m wmkml COMMAND …`: finds the command's file in `wmkml/cli/` and calls it.

Only that file is imported, so that `--help` and the light commands do not load torch.
"""

from __future__ import annotations

import argparse
import ast
import codecs
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from wmkml.system.memory import QuickEnd

BROKEN_PIPE = 141
"""The status of a program that SIGPIPE has ended, as shells name it: 128 and the signal's number."""

COMMANDS = Path(__file__).parent / "cli"


def command_summaries() -> dict[str, str]:
    """The first line of each command's docstring, by the command's name, read without importing its file."""
    summaries = {}
    for path in sorted(COMMANDS.glob("[a-z]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        summaries[path.stem.replace("_", "-")] = text.partition("\n")[0]
    return summaries


def command_parser(name: str) -> argparse.ArgumentParser:
    """The argument parser of one command."""
    module = importlib.import_module(f"wmkml.cli.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"python -m wmkml {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    parser.set_defaults(main=module.main)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.  Returns its exit status, 2 when there is no such command."""
    for stream in (sys.stdout, sys.stderr):
        express_everything(stream)
    try:
        status = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has enough, as `| head` has; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def program() -> NoReturn:
    """`wmkml COMMAND …`, as a program of its own."""
    QuickEnd().leave(main())


def express_everything(stream: object) -> None:
    """Let a stream of another encoding, as Windows has it, take every character.

    A file or a pipe becomes UTF-8, since programs that read JSON expect it; a terminal shows `?` for what it has not.
    """
    if not isinstance(stream, io.TextIOWrapper) or codecs.lookup(stream.encoding).name == "utf-8":
        return
    if stream.isatty():
        stream.reconfigure(errors="replace")
    else:
        stream.reconfigure(encoding="utf-8")


def _run(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    commands = command_summaries()
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m wmkml COMMAND [--help]\n")
        for name, summary in commands.items():
            print(f"  {name:<16} {summary}")
        return 0 if words else 2
    name, rest = words[0], words[1:]
    if name not in commands:
        print(f"There is no command {name!r}. There are: {', '.join(commands)}.", file=sys.stderr)
        return 2
    try:
        arguments = command_parser(name).parse_args(rest)
        return int(arguments.main(arguments))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "wmkml":
            raise
        print(
            f"{name} needs {error.name}, which is not installed: pip install 'wmkml[lab]' brings what the laboratory needs, "
            "'wmkml[cluster]' what the services need.",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    program()
