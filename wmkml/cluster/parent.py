"""Ending when the parent ends, however it ended: by the kernel's own means on Linux, by looking elsewhere.

Knows nothing of what the processes do.  Standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: the signal that the calling process gets when its parent dies.  It survives an exec."""


def end_with_parent(parent: int, sent: signal.Signals = signal.SIGTERM) -> None:
    """Have `sent` delivered to this process when the process `parent` dies, be it by kill -9.

    Outside Linux a thread looks twice a second, and it does not survive an exec.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(sent), 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")
    else:
        threading.Thread(target=_watch, args=(parent, sent), daemon=True).start()
    # It may have died before we asked.
    if os.getppid() != parent:
        os.kill(os.getpid(), sent)


def _watch(parent: int, sent: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), sent)
