"""The URLs at which services are called, for every kind of address that they listen on."""

from __future__ import annotations

import pytest

from wmkml.config import load_settings
from wmkml.config.addresses import inference_url, owner_url


@pytest.mark.parametrize(
    ("host", "called"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("192.168.1.20", "192.168.1.20"),
        ("fd00::7", "[fd00::7]"),
        ("room.local", "room.local"),
    ],
)
def test_a_service_is_called_where_it_listens(host: str, called: str) -> None:
    settings = load_settings(
        overrides={
            "general.owner_host": host,
            "general.owner_port": 8001,
            "inference.inference_host": host,
            "general.inference_port": 8012,
        }
    )
    assert owner_url(settings) == f"http://{called}:8001"
    assert inference_url(settings) == f"http://{called}:8012"
