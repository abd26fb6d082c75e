"""Becomes one supervised program: `python -m wmkml.launcher.supervision.child COMMAND …`.

Ties the program to supervisord, so that it ends when supervisord is killed, then replaces itself with it.
Standard library only: every start of a program waits for it.
"""

from __future__ import annotations

import os
import sys

from wmkml.system.parent_process import end_with_parent


def main() -> None:
    """Never returns: the process becomes the command."""
    command = sys.argv[1:]
    # Elsewhere the tie would not survive the exec; there `Cluster` ends what a killed supervisord leaves.
    if sys.platform == "linux":
        end_with_parent(os.getppid())
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
