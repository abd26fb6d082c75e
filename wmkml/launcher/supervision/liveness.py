"""Which programs hang: they live, answered once, and do not answer any more.

Each program is asked in a thread of its own, so that one which hangs keeps nobody waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

HUNG_SECONDS = 60.0
"""A program that has not answered for this long hangs.  Busy ones answer within seconds, also on two cores."""

ASK_SECONDS = 2.0
"""How often a program is asked."""

Answers = Callable[[], bool]
"""Asks a program; whether it answers at all, whatever it says.  Returns or raises within seconds."""


@dataclass
class _Asked:
    pid: int = 0
    asked_at: float = 0.0
    answered_at: float | None = None
    """Monotonic time of the last answer of this process; None: it has not answered yet, as while it imports libraries."""
    asking: Future[bool] | None = field(default=None, repr=False)


class Liveness:
    """Asks programs whether they answer."""

    def __init__(self, programs: Mapping[str, Answers], hung_seconds: float = HUNG_SECONDS) -> None:
        self._programs, self._hung_seconds = dict(programs), hung_seconds
        self._asked = {name: _Asked() for name in programs}
        self._pool = ThreadPoolExecutor(max(1, len(programs)), thread_name_prefix="liveness")

    def look(self, pids: Mapping[str, int]) -> list[str]:
        """Look once; returns the programs that hang.  `pids`: of the programs that run."""
        now, hung = time.monotonic(), []
        for name, answers in self._programs.items():
            asked, pid = self._asked[name], pids.get(name, 0)
            if asked.pid != pid:
                asked.pid, asked.answered_at = pid, None
            if asked.asking is not None and asked.asking.done():
                if pid and asked.asking.result():
                    asked.answered_at = now
                asked.asking = None
            if not pid:
                continue
            if asked.asking is None and now - asked.asked_at >= ASK_SECONDS:
                asked.asked_at = now
                asked.asking = self._pool.submit(answers)
            if asked.answered_at is not None and now - asked.answered_at > self._hung_seconds:
                asked.answered_at = None
                hung.append(name)
        return hung

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
