"""The installation's keys while they may be rotated: a service asks here at every request, and knows the new ones at once.

`wmkml keys rotate` and the desk replace the key file; every process looks whether it is still the one that it has read.
What carries an old key is refused from then on, but for one thing: the worker's former key is good for a round that is under
way, for WORKER_GRACE_SECONDS, so that a worker on another machine, which cannot read the file, does not lose its round.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from wmkml.access.keys import Keys, KeysUnreadableError, load_keys
from wmkml.config.paths import Paths

log = logging.getLogger(__name__)

WORKER_GRACE_SECONDS = 600.0
"""How long after its rotation the worker's former key still reports, fetches for, and hands in a round; it claims none."""


class KeyRing:
    """The keys as the file holds them now.

    A file that is gone or invalid changes nothing: the last valid keys stay.
    """

    def __init__(self, paths: Paths, clock: Callable[[], float] = time.time) -> None:
        """Read the keys; the first process creates them.  `clock`: in seconds since 1970, as files' times are.

        Raises:
            KeysUnreadableError, OSError: as `load_keys`.
        """
        self._paths, self._clock = paths, clock
        self._keys = load_keys(paths)
        self._file = self._identity()
        self._former_worker = ""
        self._grace_ends = 0.0

    def now(self) -> Keys:
        """The keys that are valid now."""
        file = self._identity()
        if file is not None and file != self._file:
            self._file = file
            self._read(file[2] / 1e9)
        return self._keys

    @property
    def stage(self) -> str:
        """The stage's key."""
        return self.now().stage

    @property
    def worker(self) -> str:
        """The worker's key."""
        return self.now().worker

    @property
    def operator(self) -> str:
        """The operator's key."""
        return self.now().operator

    def worker_keys_of_a_round(self) -> tuple[str, ...]:
        """The keys with which a worker may go on with a round that it has claimed: its own, and for a while its former one."""
        worker = self.worker
        # A time in the future is none: the clock was set back, and the former key might be good for ever.
        left = self._grace_ends - self._clock()
        return (worker, self._former_worker) if 0 < left <= WORKER_GRACE_SECONDS else (worker,)

    def _identity(self) -> tuple[int, int, int] | None:
        try:
            status = self._paths.keys.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _read(self, replaced_at: float) -> None:
        try:
            keys = load_keys(self._paths)
        except (KeysUnreadableError, OSError) as error:
            log.warning("The keys stay as they were: %s", error)
            return
        if keys.worker != self._keys.worker:
            self._former_worker, self._grace_ends = self._keys.worker, replaced_at + WORKER_GRACE_SECONDS
        self._keys = keys
