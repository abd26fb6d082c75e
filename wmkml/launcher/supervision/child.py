"""Becomes one supervised program: `python -m wmkml.launcher.supervision.child EXPENDABLE COMMAND …`.

Ties the program to supervisord, so that it ends when supervisord is killed, tells the kernel how expendable it is when memory is
short, then replaces itself with it.  Standard library only: every start of a program waits for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from wmkml.system.parent_process import end_with_parent

OOM_SCORE = Path("/proc/self/oom_score_adj")
"""Thousandths of the machine's memory that the kernel adds to a process's own when it looks for one to kill (man 5 proc).  It
survives an exec, and children inherit it."""


def main() -> None:
    """Never returns: the process becomes the command."""
    expendable, command = int(sys.argv[1]), sys.argv[2:]
    # Elsewhere the tie would not survive the exec; there `Cluster` ends what a killed supervisord leaves.
    if sys.platform == "linux":
        end_with_parent(os.getppid())
        # Less than it has been given, as by systemd's OOMScoreAdjust, is not a user's to set.
        with contextlib.suppress(OSError, ValueError):
            OOM_SCORE.write_text(str(min(1000, int(OOM_SCORE.read_text()) + expendable)))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
