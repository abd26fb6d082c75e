"""No answer of inference is kept by a browser or a proxy: every route says `no-store`, and so do streams and refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi.routing import APIRoute

from tests.inference.service import InferenceProcess
from wmkml.inference import control_routes, openai_routes
from wmkml.protocol.middleware.no_store import NO_STORE

pytestmark = pytest.mark.process


ENGINE = pytest.mark.parametrize("service", ["transformers"], indirect=True)
"""Which engine is behind the routes makes no difference here."""


def inference_routes() -> list[tuple[str, str]]:
    """Method and path of every route of inference, listed without an engine."""
    nothing = cast(Any, SimpleNamespace(engine=None, registry=None, metrics=None))
    routers = (openai_routes.routes(nothing, list, str, 1), control_routes.routes(nothing))
    routes = [route for router in routers for route in router.routes]
    assert all(isinstance(route, APIRoute) for route in routes), "another kind of route has headers of its own"
    return sorted((method, route.path) for route in routes if isinstance(route, APIRoute) for method in route.methods)


@ENGINE
def test_every_route_says_that_its_answer_is_not_kept(service: InferenceProcess) -> None:
    routes = inference_routes()
    assert ("POST", "/v1/chat/completions") in routes and ("POST", "/language") in routes
    for method, path in [*routes, ("GET", "/no-such-route")]:
        assert service.http.request(method, path).headers["cache-control"] == NO_STORE, (method, path)


@ENGINE
@pytest.mark.parametrize("more", [{}, {"stream": True}, {"n": 2, "logprobs": True}], ids=str)
def test_an_answer_is_not_kept_whole_or_streamed(service: InferenceProcess, more: dict[str, Any]) -> None:
    reply = service.ask("Was ist ein Haus?", **more)
    assert reply.status_code == 200 and "choices" in reply.text
    assert reply.headers["cache-control"] == NO_STORE


@ENGINE
def test_a_refusal_is_not_kept(service: InferenceProcess) -> None:
    for reply in (service.ask(""), service.ask("Hallo", model="iteration-7"), _without_a_key(service)):
        assert reply.status_code in (400, 403, 404) and reply.headers["cache-control"] == NO_STORE


def _without_a_key(service: InferenceProcess) -> httpx.Response:
    """What a host that is not trusted gets."""
    return service.http.get("/v1/models", headers={"X-Forwarded-For": "203.0.113.7"})
