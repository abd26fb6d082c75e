"""Becomes one supervised program: `python -m wmkml.cluster.child COMMAND …`.

Sees to it that the program ends when supervisord is killed, and is replaced by it.
Standard library alone: it stands between every restart and the program.
"""

from __future__ import annotations

import os
import sys

from wmkml.cluster.parent import end_with_parent


def main() -> None:
    """Never returns: the process becomes the command."""
    command = sys.argv[1:]
    # Elsewhere the tie would not survive the exec; supervisord itself is tied to the launcher all the same.
    if sys.platform == "linux":
        end_with_parent(os.getppid())
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
