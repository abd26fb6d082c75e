"""Which requests come from a trusted host: every address that a proxy forwards must be trusted, too."""

from __future__ import annotations

import pytest

from wmkml.access.trusted_hosts import forwarded_for, is_trusted

HOSTS = ["127.0.0.1", "::1", "192.0.2.7"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted"),
    [
        ("127.0.0.1", [], True),
        ("::ffff:127.0.0.1", [], True),
        ("192.0.2.7", [], True),
        ("203.0.113.9", [], False),
        ("", [], False),
        ("127.0.0.1", ["203.0.113.9"], False),
        ("127.0.0.1", ["127.0.0.1, 203.0.113.9"], False),
        ("127.0.0.1", ["127.0.0.1", "203.0.113.9"], False),
        ("127.0.0.1", ["192.0.2.7, ::1"], True),
        ("127.0.0.1", ["nonsense"], False),
        ("203.0.113.9", ["127.0.0.1"], False),
        ("192.0.2.7", ["203.0.113.9"], True),
    ],
)
def test_trust(peer: str, forwarded: list[str], trusted: bool) -> None:
    assert is_trusted(peer, forwarded, HOSTS) is trusted


def test_what_is_passed_on_forgets_nobody() -> None:
    assert forwarded_for("127.0.0.1", ["203.0.113.9", "192.0.2.7"]) == "203.0.113.9, 192.0.2.7, 127.0.0.1"
    assert not is_trusted("127.0.0.1", [forwarded_for("127.0.0.1", ["203.0.113.9"])], HOSTS)
