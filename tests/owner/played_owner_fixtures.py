"""Fixtures with a `PlayedOwner`, for the conftest.py of the folders that test pages, desk and window.

A module that needs another folder or other settings overrides `owner_folder` or `owner_settings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.owner.played_owner import PlayedOwner, played_owner


@pytest.fixture(scope="module")
def owner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the module's owner."""
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    """Settings of the module's owner that differ from `PlayedOwner`'s, by dotted key."""
    return {}


@pytest.fixture(scope="module")
def shared_owner(owner_folder: Path, owner_settings: dict[str, Any]) -> Iterator[PlayedOwner]:
    """The owner for all tests of a module."""
    with played_owner(owner_folder, **owner_settings) as owner:
        yield owner


@pytest.fixture
def owner(shared_owner: PlayedOwner) -> PlayedOwner:
    """The module's owner, waiting for a language."""
    shared_owner.reset()
    return shared_owner
