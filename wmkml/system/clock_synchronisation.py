"""Whether something sets this machine's clock over the network, as the kernel knows it.  Source: adjtimex(2)."""

from __future__ import annotations

import ctypes
import sys

TIMEX_BYTES = 1024
"""More than `struct timex` has on any Linux; all zero, it reads and changes nothing."""

TIME_ERROR = 5


def clock_synchronised() -> bool | None:
    """Whether the clock is synchronised; None where the kernel does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != TIME_ERROR
