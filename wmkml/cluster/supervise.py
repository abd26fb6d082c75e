"""supervisord, tied to the launcher: `python -m wmkml.cluster.supervise CONFIGURATION PARENT`.

When the launcher dies, however it dies, supervisord stops its programs in order and ends; then whatever still carries
the cluster's mark is ended too (an engine's children outlive an engine that was killed).
"""

from __future__ import annotations

import os
import sys

from supervisor import supervisord

from wmkml.cluster.parent import end_with_parent
from wmkml.cluster.supervision import MARKER_VARIABLE
from wmkml.cluster.sweep import end_marked


def main() -> int:
    """Run supervisord until it is told to end, or its parent is gone."""
    configuration, parent = sys.argv[1], int(sys.argv[2])
    end_with_parent(parent)
    try:
        supervisord.main(["-n", "-c", configuration])
    finally:
        end_marked(MARKER_VARIABLE, os.environ[MARKER_VARIABLE])
    return 0


if __name__ == "__main__":
    sys.exit(main())
