"""How many files this process may hold open: every connection is one."""

from __future__ import annotations

import resource

MOST_FILES = 65536
"""More than any service here needs; some systems allow a thousand times as many, and libraries loop over all of them."""


def raise_open_file_limit(most: int = MOST_FILES) -> int:
    """Raise the limit of this process as far as the system allows, at most to `most`; returns how many it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS allows less than it says
            return soft
        return wanted
    return most if soft == resource.RLIM_INFINITY else soft
