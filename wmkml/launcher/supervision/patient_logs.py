"""supervisord's log files on a disk that takes nothing: lines are lost, and supervisord lives on.

Its own handlers let the error of a full disk escape, from the rotation of a log or from reporting that a log could not be
written, and supervisord ends over it, and with it every service.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

from supervisor import loggers


class PatientLog(loggers.RotatingFileHandler):  # type: ignore[misc]  # supervisor has no types
    """A rotated log that drops what the disk does not take."""

    stream: Any

    def __init__(self, filename: str, mode: str = "ab", maxBytes: int = 0, backupCount: int = 10) -> None:  # noqa: N803
        try:
            super().__init__(filename, mode, maxBytes, backupCount)
        except OSError:
            loggers.Handler.__init__(self, io.BytesIO())
            self.baseFilename, self.mode = filename, mode
            self.maxBytes, self.backupCount = maxBytes, backupCount
        self._unbuffer()

    def emit(self, record: Any) -> None:
        """Write a record, or lose it."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.stream, io.BytesIO) or self.stream.closed:  # it could not be opened, or not rotated
                self.stream = Path(self.baseFilename).open("ab")  # noqa: SIM115 - open as long as the program lives
            self._unbuffer()
            super().emit(record)

    def handleError(self) -> None:  # noqa: N802
        """Say nothing of a line that was lost: there is no place for it either."""

    def _unbuffer(self) -> None:
        # What a buffer holds is tried again with every line, and again when the file is closed.
        if isinstance(self.stream, io.BufferedWriter):
            self.stream = self.stream.detach()


def use_patient_logs() -> None:
    """Have supervisord write its logs, and its programs', like this.  It offers no setting for it."""
    loggers.RotatingFileHandler = PatientLog
    sys.stderr = _PatientStream(sys.stderr)


class _PatientStream(io.TextIOBase):
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
        return len(text)

    def fileno(self) -> int:
        return int(self._stream.fileno())
