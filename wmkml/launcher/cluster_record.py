"""The record of the cluster that lives on a data folder: `cluster.json`, and `cluster.lock`, held by its launcher.

The kernel releases the lock however the launcher ends.  `status` and `stop` read the record to know whom to ask; without
the lock it is what a killed launcher left, and counts as none.
"""

from __future__ import annotations

import fcntl
import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

Phase = Literal["starting", "healthy", "ending"]


@dataclass(frozen=True)
class ClusterRecord:
    """A living cluster.

    `pid`: of the launcher.  `started`: seconds since 1970.  `socket`: of supervisord.  `settings`: the settings file.
    """

    pid: int
    phase: Phase
    started: float
    socket: str
    settings: str
    owner_url: str
    inference_url: str


def write_record(data: Path, record: ClusterRecord) -> None:
    """Write the record atomically."""
    temporary = data / "cluster.json.new"
    temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    temporary.replace(data / "cluster.json")


def read_record(data: Path) -> ClusterRecord | None:
    """The record of the cluster that lives on this data folder; None if none lives there."""
    path = data / "cluster.json"
    if not path.is_file() or not is_locked(data):
        return None
    return ClusterRecord(**json.loads(path.read_text(encoding="utf-8")))


def remove_record(data: Path) -> None:
    """Remove the record: the cluster has ended."""
    (data / "cluster.json").unlink(missing_ok=True)


def is_locked(data: Path) -> bool:
    """Whether a launcher lives on this data folder."""
    path = data / "cluster.lock"
    if not path.is_file():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class ClusterRunsError(RuntimeError):
    """Another launcher holds the lock of the data folder."""


class ClusterLock(AbstractContextManager["ClusterLock"]):
    """Context manager: holds the data folder's lock.  The kernel releases it when the process ends.

    Raises:
        ClusterRunsError: when entered while another launcher holds it.
    """

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._file = (data / "cluster.lock").open("ab")

    def __enter__(self) -> ClusterLock:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ClusterRunsError from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
