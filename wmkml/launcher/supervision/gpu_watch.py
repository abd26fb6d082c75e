"""Which of the plan's graphics cards are there.  One that falls off the bus takes its process along, and does not come back to it.

`nvidia-smi` takes seconds, or hangs over such a card, so it is asked in a thread, and nobody waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from wmkml.system.gpus import Gpu, detected_gpus

ASK_SECONDS = 5.0
"""Between the end of one question and the next."""

GONE_SECONDS = 10.0
"""After this long a card that is missing is gone."""

BACK_SECONDS = 30.0
"""After this long a card that was gone is back; one with a loose contact shall not restart the engine again and again."""


class GpuWatch:
    """The cards of a plan, and those of them that are used now."""

    def __init__(
        self,
        gpus: Sequence[Gpu],
        ask: Callable[[], Sequence[Gpu]] = detected_gpus,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        gpus: the plan's, all of which are used.
        ask: lists the machine's; none where nothing could be learned.
        clock: monotonic time, in seconds.
        """
        self._planned, self._ask, self._clock = tuple(gpus), ask, clock
        self._used = {gpu.index for gpu in gpus}
        self._seen, self._seen_since = self._used, clock()
        self._asked_at = clock()
        self._asking: Future[Sequence[Gpu]] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gpus")

    def look(self) -> tuple[Gpu, ...] | None:
        """The plan's cards that are to be used from now on, where these are others than before; else None.

        Never none of them: what is to be done without a card is to wait for it.
        """
        now = self._clock()
        if self._asking is None:
            if self._planned and now - self._asked_at >= ASK_SECONDS:
                self._asking = self._pool.submit(self._ask)
            return None
        if not self._asking.done():
            return None
        present = {gpu.index for gpu in self._asking.result()}
        self._asking, self._asked_at = None, now
        seen = {gpu.index for gpu in self._planned} & present
        if seen != self._seen:
            self._seen, self._seen_since = seen, now
        patience = GONE_SECONDS if self._used - seen else BACK_SECONDS
        if not seen or seen == self._used or now - self._seen_since < patience:
            return None
        self._used = seen
        return tuple(gpu for gpu in self._planned if gpu.index in seen)

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
