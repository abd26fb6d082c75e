"""No answer of the owner that holds words is kept by a browser or a proxy: every route but those of the pages' files says `no-store`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tests.desk.operator import at_the_desk
from tests.owner.owner_cluster import OwnerCluster
from tests.owner.played_owner import played_owner
from wmkml.access.key_ring import KeyRing
from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.owner.app import make_app
from wmkml.protocol.middleware.no_store import NO_STORE

pytestmark = pytest.mark.process

PROMPT = "Xylophonquappe, was bist du?"
STATION = "canary"

FILES = {"/", "/desk", "/stage", "/autopsy", "/icon.svg", "/assets/{name}", "/stage/runtime/fonts/{name}"}
"""The pages and what they load: built or drawn beforehand, so that no visitor's word can be in them."""


def owner_app(folder: Path, **overrides: Any) -> FastAPI:
    """The owner's application, never started: its routes can be listed."""

    def on_crash(error: BaseException) -> None:
        raise error

    settings = load_settings(None, overrides=overrides)
    paths = paths_of(settings, folder)
    return make_app(settings, paths, KeyRing(paths), on_crash)


def owner_routes(folder: Path, **overrides: Any) -> list[tuple[str, str]]:
    """Method and path of every route of the owner."""
    routes = owner_app(folder, **overrides).routes
    assert all(isinstance(route, APIRoute) for route in routes), "another kind of route has headers of its own"
    return sorted((method, route.path) for route in routes if isinstance(route, APIRoute) for method in route.methods)


def test_every_route_but_the_files_says_that_its_answer_is_not_kept(cluster: OwnerCluster, tmp_path: Path) -> None:
    routes = owner_routes(tmp_path / "listed")
    paths = {path for _, path in routes}
    assert paths >= FILES and {"/chat", "/station", "/card", "/events", "/desk/words", "/worker/claim"} <= paths
    for method, path in routes:
        # Without a key and with an empty body most of them refuse: the header is on refusals, too.
        reply = cluster.owner.request(method, re.sub(r"\{\w+\}", "1", path))
        kept = reply.headers["cache-control"]
        assert path in FILES or kept == NO_STORE, (method, path, kept)
    assert cluster.owner.get("/no-such-route").headers["cache-control"] == NO_STORE


def words_in(reply: httpx.Response) -> bool:
    """Whether an answer that was read holds a word of the visitor or of the model's answer."""
    return "Xylophonquappe" in reply.text or "Haus" in reply.text


def test_every_answer_with_words_says_that_it_is_not_kept(tmp_path: Path) -> None:
    with played_owner(tmp_path) as owner:
        cluster = owner.cluster
        get, post, keys = cluster.owner.get, cluster.owner.post, cluster.keys
        before_run = post("/generate_gui", json={"prompt": PROMPT})
        cluster.begin("de")
        whole = {"X-Key": keys.operator}
        ask = {"prompt": PROMPT, "station": STATION}
        answers: dict[str, Callable[[], httpx.Response]] = {
            "generate_gui before a run": lambda: before_run,
            "generate_gui": lambda: post("/generate_gui", json={"prompt": PROMPT}),
            "chat": lambda: post("/chat", json=ask),
            "a chat that is refused": lambda: post("/chat", json={"prompt": "x" * 3000}),
            "station": lambda: get("/station", params={"station": STATION, "tokens": 5}),
            "shared station": lambda: get("/station", headers=whole),
            "card": lambda: post("/card", json={"station": STATION}),
            "pairs": lambda: get("/operator/pairs?words=1", headers=whole),
        }
        for name, answer in answers.items():
            reply = answer()
            assert reply.headers["cache-control"] == NO_STORE, name
            assert words_in(reply) == (name != "a chat that is refused"), name
        for query in ({"station": STATION, "past": "1"}, {"past": "1"}):
            with cluster.owner.stream("GET", "/events", params=query, headers=whole) as stream:
                assert stream.headers["cache-control"] == NO_STORE
                assert stream.headers["x-accel-buffering"] == "no"
        with at_the_desk(owner) as desk:
            words = desk.http.get("/desk/words")
            assert words_in(words) and words.headers["cache-control"] == NO_STORE
        claim = {"worker": "w", "session": "s", "shares_folder": True}
        job = cluster.work("claim", claim)
        assert job.status_code == 200 and "prompt" in job.text and job.headers["cache-control"] == NO_STORE
        cluster.train(job.json())
        cluster.until_iteration(0)
        adapter = cluster.work(f"adapters/{job.json()['run']}/0", b"", method="GET")
        assert adapter.status_code == 200 and adapter.headers["cache-control"] == NO_STORE
