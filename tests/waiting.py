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
    """Call `condition` until it returns something true, and return that: every 20 ms at first, every 80 ms after a while.

    To look costs processor time, here and where it is looked, which what is waited for needs itself.
    A server that does not answer yet (`httpx.TransportError`) counts as false.  A client of httpx reads all certificates when it is
    made, in 20 ms of processor time: what is asked for here is asked with `verify=False`, or the waiting keeps a core busy.

    Raises:
        AssertionError: after `PATIENCE` seconds; names `what` was waited for.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < PATIENCE:
        try:
            if value := condition():
                return value
        except httpx.TransportError:
            pass
        time.sleep(min(max(0.02, waited / 10), 0.08))
    raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}")
