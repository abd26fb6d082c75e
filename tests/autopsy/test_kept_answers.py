"""No answer about a kept run is kept by a browser or a proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from fastapi.testclient import TestClient

from wmkml.access.key_ring import KeyRing
from wmkml.autopsy.server import make_app
from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.protocol.middleware.no_store import NO_STORE


def test_every_answer_says_that_it_is_not_kept(tmp_path: Path) -> None:
    keys = KeyRing(paths_of(load_settings(None), tmp_path))
    with TestClient(make_app(cast(Any, None), keys), base_url="http://127.0.0.1") as http:
        for method, path in (("GET", "/autopsy/selves"), ("POST", "/autopsy/answers"), ("POST", "/autopsy/next")):
            reply = http.request(method, path, json={})
            assert reply.headers["cache-control"] == NO_STORE, (path, reply.text)
