"""Becomes one supervised program: `python -m wmkml.cluster.child --nice N -- COMMAND …`.

Sees to it that the program ends when supervisord is killed, sets its niceness, and is replaced by it.
Standard library alone: it stands between every restart and the program.
"""

from __future__ import annotations

import argparse
import os
import sys

from wmkml.cluster.parent import end_with_parent


def main() -> None:
    """Never returns: the process becomes the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    if sys.platform == "linux":
        end_with_parent(os.getppid())
    if arguments.nice:
        os.nice(arguments.nice)
    os.execvp(arguments.command[0], arguments.command)


if __name__ == "__main__":
    main()
