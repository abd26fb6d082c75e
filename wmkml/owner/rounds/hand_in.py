"""What a worker hands in: whether its folder holds the adapter that was announced, and what became of it.

`HandInVerdict` is what the worker's request waits for while inference loads the adapter.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from wmkml.adapters.files import WEIGHTS_FILE, missing_file, sha256_of


class UndecidedError(RuntimeError):
    """Inference is away, so nobody can say yet whether the adapter is good: the worker hands in again."""


class HandInVerdict:
    """Whether an adapter that was handed in is accepted, and why not; `decided` is set once that is known.

    The first decision stands: who waits for it may be woken only after the run has ended, and hears what held.
    """

    def __init__(self) -> None:
        self.decided = asyncio.Event()
        self.accepted = False
        self.reason = ""

    def decide(self, accepted: bool, reason: str = "") -> None:
        """Let those who wait for it know, unless they were told something before."""
        if self.decided.is_set():
            return
        self.accepted, self.reason = accepted, reason
        self.decided.set()


def problem_with_adapter(folder: Path, sha256: str) -> str:
    """What is wrong with the adapter in a folder, as a sentence; empty if nothing is.

    Args:
        sha256: what the weights' file must hash to, in hexadecimal.
    """
    if (missing := missing_file(folder)) is not None:
        return f"the adapter has no {missing}."
    if sha256_of(folder / WEIGHTS_FILE) != sha256:
        return f"{WEIGHTS_FILE} is not the file whose sha256 was named."
    return ""
