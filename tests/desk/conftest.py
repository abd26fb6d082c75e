"""The owner and the logged-in desk for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.desk.operator import DeskClient, at_the_desk
from tests.owner.played_owner import PlayedOwner
from tests.owner.played_owner_fixtures import owner, owner_folder, owner_settings, shared_owner

__all__ = ["owner", "owner_folder", "owner_settings", "shared_owner"]


@pytest.fixture
def desk(owner: PlayedOwner) -> Iterator[DeskClient]:
    """A desk that is logged in at the module's owner."""
    with at_the_desk(owner) as desk:
        yield desk
