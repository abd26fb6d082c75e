"""Ending a process when its parent ends, also by `kill -9`: the kernel does it on Linux, a polling thread elsewhere.

Standard library only: `launcher/supervision/child.py` runs it before every start of a service.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: sets the signal that the calling process gets when its parent dies.  It survives an exec."""

POLL_SECONDS = 0.5
"""How often the thread looks for the parent, outside Linux."""


def end_with_parent(parent: int, signal_number: signal.Signals = signal.SIGTERM) -> None:
    """Have this process receive a signal when the process `parent` dies.

    Outside Linux a thread polls for it, which does not survive an exec.

    Raises:
        OSError: the kernel refuses.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")
    else:
        threading.Thread(target=_poll, args=(parent, signal_number), daemon=True).start()
    # The parent may have died before the signal was set.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def _poll(parent: int, signal_number: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal_number)
