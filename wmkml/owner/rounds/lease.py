"""The lease of the round under way: how long its worker may be silent before the round is taken from it.

Every message of the worker renews it.  After a restart of the owner the worker has a whole lease to be heard of.
"""

from __future__ import annotations

import asyncio


class Lease:
    """A deadline on the event loop's clock that is put off with every sign of life."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: finetuning.lease_seconds."""
        self.seconds = seconds
        self._expires = asyncio.get_running_loop().time() + seconds

    def renew(self) -> None:
        """The worker was heard of."""
        self._expires = asyncio.get_running_loop().time() + self.seconds

    def seconds_left(self) -> float:
        """Seconds until it expires; negative afterwards."""
        return self._expires - asyncio.get_running_loop().time()
