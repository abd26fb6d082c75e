"""For all tests: environment variables are restored after every file, and the option `--without-processes`.

An engine sets environment variables that vLLM reads; processes that the tests of the next file start must not inherit
them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest

pytest_plugins = ["tests.scheduling"]

# The doctor, and with it the launcher, speaks the shell's language; tests compare what they print in English.
os.environ["LC_ALL"] = "C.UTF-8"

# A shell that runs the tests in the background passes on an ignored Ctrl-C, as do they to what they start, and some press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROCESS_EVENTS = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.system"}
"""Python's audit events for a new process (docs.python.org, "Audit events table")."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `scripts/test-fast` is called with."""
    parser.addoption(
        "--without-processes",
        action="store_true",
        help="a test that starts a process fails: it should carry the mark `process`",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse new processes while a test, or a fixture of it, runs."""
    _process_guard.refusing = bool(item.config.getoption("--without-processes"))
    try:
        return (yield)
    finally:
        _process_guard.refusing = False


class _ProcessGuard:
    """The one audit hook of this process, which refuses new processes while `refusing` is set; audit hooks cannot be removed."""

    def __init__(self) -> None:
        self.refusing = False
        sys.addaudithook(self._on_audit_event)

    def _on_audit_event(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.refusing and event in PROCESS_EVENTS:
            raise RuntimeError(f"a test without the mark `process` starts one: {event} {arguments[:2]}")


_process_guard = _ProcessGuard()


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Put the environment back as it was before the file's first test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
