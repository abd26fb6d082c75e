"""What a process asked of the kernel, in order, as the program strace wrote it down."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SHOWN_BYTES = 8192
"""How much of what is written is in a trace: a whole page of SQLite, or a piece of a reply."""


@dataclass(frozen=True)
class SystemCall:
    """One call with its arguments and its result, who made it, and the lines of the trace at which it began and ended."""

    thread: str
    text: str
    began: int
    ended: int

    def is_of(self, *names: str) -> bool:
        return self.text.startswith(tuple(f"{name}(" for name in names))


def strace_command(trace: Path, *names: str, slow: tuple[str, ...] = (), delay_seconds: float = 0.2) -> list[str]:
    """The beginning of a command whose system calls with these names are traced, those of all its threads too.

    Files stand in the trace with their paths.  The traced process keeps its number: the tracer is a child (`-D`), which ends
    with it.  Skips the test where the kernel lets nobody trace.

    Args:
        slow: names of calls that begin late, as on a slow disk, by `delay_seconds`.
    """
    strace = shutil.which("strace")
    assert strace is not None, "This test needs strace (Debian's package strace), which run_tests.sh installs."
    probe = subprocess.run(
        [strace, "-D", "-f", "-o", os.devnull, "true"], capture_output=True, text=True, timeout=30, check=False
    )
    if probe.returncode or probe.stderr:
        pytest.skip(f"No process can be traced here: {probe.stderr.strip()}")
    delays = ["-e", f"inject={','.join(slow)}:delay_enter={round(delay_seconds * 1e6)}"] if slow else []
    return [
        strace,
        "-D",
        "-f",
        "-y",
        "-s",
        str(SHOWN_BYTES),
        "-e",
        f"trace={','.join(names)}",
        *delays,
        "-o",
        str(trace),
    ]


def system_calls(trace: Path) -> Iterator[SystemCall]:
    """The finished calls of a trace, in the order in which they ended.

    A call during which another thread makes one stands on two lines, "… <unfinished ...>" and "<... name resumed>…".
    """
    under_way: dict[str, tuple[int, str]] = {}
    with trace.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            thread, _, text = line.strip().partition(" ")
            text = text.lstrip().removesuffix(" (DELAYED)")
            if text.endswith("<unfinished ...>"):
                under_way[thread] = number, text.removesuffix("<unfinished ...>")
            elif text.startswith("<... "):
                began, beginning = under_way.pop(thread)
                yield SystemCall(thread, beginning + text.partition("resumed>")[2], began, number)
            elif not text.startswith(("+++", "---")):  # the ends of threads, and signals
                yield SystemCall(thread, text, number, number)
