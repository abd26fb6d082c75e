"""Waiting for what another process or thread does, for tests of any folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

PATIENCE = 120.0
"""Seconds after which a condition that does not hold fails its test."""

Value = TypeVar("Value")


def until(condition: Callable[[], Value | None], what: str = "this") -> Value:
    """Call `condition` every 20 ms until it returns something true, and return that.

    A server that does not answer yet (`httpx.TransportError`) counts as false.  A client of httpx reads all certificates when it is
    made, in 20 ms of processor time: what is asked for here is asked with `verify=False`, or the waiting keeps a core busy.

    Raises:
        AssertionError: after `PATIENCE` seconds; names `what` was waited for.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}")
