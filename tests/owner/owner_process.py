"""The owner as a process of its own: as `owner.py` starts it, or on a clock that a test puts forward.

    python -m tests.owner.owner_process CONFIG [CLOCK]

The file CLOCK holds two numbers: by how many seconds time has gone on, and by how many the wall clock was set besides.  It is
read at the start and whenever the process gets SIGUSR1.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

from wmkml.config import load_settings
from wmkml.owner.main import serve


class ForwardClock:
    """Stands for `time.time` and `time.monotonic`, and with the latter for the event loop's clock and its timeouts."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ahead = self._set = 0.0
        self._read()
        wall, monotonic = time.time, time.monotonic
        time.time = lambda: wall() + self._ahead + self._set
        time.monotonic = lambda: monotonic() + self._ahead
        sys.modules["uvloop"] = None  # type: ignore[assignment]  # its timeouts go by a clock of its own
        signal.signal(signal.SIGUSR1, self._read)

    def _read(self, *_signal_and_frame: Any) -> None:
        if self._file.is_file():
            self._ahead, self._set = map(float, self._file.read_text().split())


if __name__ == "__main__":
    config = Path(sys.argv[1])
    for clock in sys.argv[2:]:
        ForwardClock(Path(clock))
    sys.exit(serve(load_settings(config), config.parent))
