"""What holds for every file of tests: the environment it leaves is the one it found.

An engine writes into its own process's environment what vLLM reads from there; tests of the next file start processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Put the environment back as it was before the file's first test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
