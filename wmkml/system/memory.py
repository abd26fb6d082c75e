"""How much memory this machine has.  Standard library only."""

from __future__ import annotations

import os


def memory_gib() -> float:
    """The machine's memory in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
