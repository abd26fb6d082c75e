"""supervisord, tied to the launcher: `python -m wmkml.launcher.supervision.daemon CONFIGURATION PARENT`.

When the launcher dies, however it dies, supervisord stops its programs in order and ends; then every process that still
carries the cluster's mark is ended too (an engine's children outlive an engine that was killed).
"""

from __future__ import annotations

import os
import sys

from supervisor import supervisord

from wmkml.launcher.supervision.patient_logs import use_patient_logs
from wmkml.launcher.supervision.quick_polls import use_quick_polls
from wmkml.launcher.supervision.supervisor import CLUSTER_VARIABLE
from wmkml.system.orphans import Mark, end_marked_processes
from wmkml.system.parent_process import end_with_parent


def main() -> int:
    """Run supervisord until it is told to end, or its parent is gone."""
    configuration, parent = sys.argv[1], int(sys.argv[2])
    end_with_parent(parent)
    use_patient_logs()
    use_quick_polls()
    try:
        supervisord.main(["-n", "-c", configuration])
    finally:
        end_marked_processes(Mark(CLUSTER_VARIABLE, os.environ[CLUSTER_VARIABLE]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
