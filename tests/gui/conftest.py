"""The owner for the tests of this folder."""

from __future__ import annotations

from tests.owner.played_owner_fixtures import owner, owner_folder, owner_settings, shared_owner

__all__ = ["owner", "owner_folder", "owner_settings", "shared_owner"]
