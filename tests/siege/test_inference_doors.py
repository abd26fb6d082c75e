"""The siege knows every route of inference, and no message that is made of a node's own schemas is a server error there."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.routing import APIRoute

from tests.engine.random_model import make_model
from tests.inference.test_nodes import node_running
from wmkml.inference import control_routes, openai_routes
from wmkml.inference.nodes import vllm_routes
from wmkml.inference.nodes.vllm_routes import LoadAdapter, TokenCompletion, UnloadAdapter
from wmkml.protocol.middleware.no_store import NO_STORE
from wmkml.siege.clients import AWAY, INSIDES
from wmkml.siege.doors import INFERENCE_DOORS, Door
from wmkml.siege.messages import MessageMaker
from wmkml.system.ports import free_port

UNUSED = cast(Any, None)
"""What routes need to answer: here they are listed alone."""

NODE_DOORS = (
    Door("GET", "/health"),
    Door("GET", "/v1/models"),
    Door("POST", "/v1/load_lora_adapter", LoadAdapter),
    Door("POST", "/v1/unload_lora_adapter", UnloadAdapter),
    Door("POST", "/reset_prefix_cache"),
    Door("POST", "/v1/completions", TokenCompletion),
    Door("PUT", "/adapters/{text}"),
    Door("GET", "/healthz"),
)
"""A node listens on a port of its own; the siege starts none."""


def paths_of(*routers: Any) -> set[tuple[str, str]]:
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return {(method, re.sub(r"\{\w+\}", "{text}", route.path)) for route in routes for method in route.methods}


def test_every_route_of_inference_is_a_door_of_the_siege() -> None:
    context = control_routes.ControlContext(*[UNUSED] * 12)
    routers = control_routes.routes(context), openai_routes.routes(UNUSED, UNUSED, UNUSED, 0)
    assert {(door.method, door.path) for door in INFERENCE_DOORS} == paths_of(*routers)
    assert {(door.method, door.path) for door in NODE_DOORS} >= paths_of(vllm_routes.routes(UNUSED, UNUSED, 0))


@pytest.mark.process
def test_no_message_to_a_node_is_a_server_error(tmp_path: Path) -> None:
    maker = MessageMaker(random.Random(3), ("base", "a"))
    with node_running(tmp_path / "node", make_model(tmp_path / "model"), free_port()) as node:
        for number in range(200):
            door = NODE_DOORS[number % len(NODE_DOORS)]
            content = maker.body(door.message) if door.method != "GET" else None
            reply = node.http.request(door.method, maker.path(door.path), content=content)
            assert reply.status_code < 500 or reply.status_code in AWAY, (door, content, reply.text)
            assert not INSIDES.search(reply.content), door
            assert reply.headers["cache-control"] == NO_STORE, door
        for prompt in ([10**6], [2**62, 1], [1, 10**9]):
            reply = node.post("/v1/completions", model="base", prompt=prompt, max_tokens=1)
            assert reply.status_code == 400, reply.text
        bias = {str(10**6): 1.0}
        assert node.post("/v1/completions", model="base", prompt=[1], logit_bias=bias).status_code == 400
        assert node.post("/v1/completions", model="base", prompt=[1, 2], max_tokens=1).status_code == 200
