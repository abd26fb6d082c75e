"""supervisord looks for programs that have ended once a second, and starts them again at the look after.  Here it looks ten
times a second: the visitors of a program that was killed wait for this.

It hears of an end at once only by the program's pipe, which an engine's children keep open that outlive it.
"""

from __future__ import annotations

from typing import Any

from supervisor import poller

POLL_SECONDS = 0.1
"""How long supervisord sleeps at most; a look costs it a tenth of a millisecond."""


class QuickPoller(poller.Poller):  # type: ignore[misc]  # supervisor has no types
    """The poller of this platform, which waits for POLL_SECONDS at most."""

    def poll(self, timeout: float) -> Any:
        """Wait for something to read or write; returns the readable and the writable file descriptors."""
        return super().poll(min(timeout, POLL_SECONDS))


def use_quick_polls() -> None:
    """Have supervisord wait like this.  It offers no setting for it."""
    poller.Poller = QuickPoller
