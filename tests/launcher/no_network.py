"""A network namespace that has nothing but its loopback, for a cluster that must do without a network.

What runs in it sees no other interface and no route: not this machine's, and nobody from outside sees its ports.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkNamespace:
    """Where a test's programs run.

    `prefix`: the words before a command that put it into the namespace; none where namespaces are not permitted, and
    the command runs in this machine's network.
    `refusal`: why there is none.
    """

    prefix: tuple[str, ...] = ()
    refusal: str | None = None


@contextmanager
def loopback_alone() -> Iterator[NetworkNamespace]:
    """Make a namespace, by unshare and nsenter (util-linux) and ip (iproute2); it ends with the last process in it."""
    # Without root, a user namespace of its own permits it.
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    keep = "ip link set lo up && echo up && exec sleep infinity"
    holder = subprocess.Popen(
        ["unshare", "--net", *as_root, "sh", "-c", keep], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stderr is not None
    try:
        if holder.stdout.readline() != "up\n":
            yield NetworkNamespace(refusal=f"network namespaces are not permitted: {holder.stderr.read().strip()}")
            return
        into = ("--user", "--preserve-credentials") if as_root else ()
        yield NetworkNamespace(("nsenter", f"--target={holder.pid}", "--net", *into))
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stderr.close()
