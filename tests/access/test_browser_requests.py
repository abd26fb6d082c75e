"""What another site's page has a browser send: told by Host, Origin and content type, at owner and inference."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from wmkml.access.browser_requests import is_known_host, own_names
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.middleware.browser_guard import BrowserGuardMiddleware


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("192.168.4.2", True),
        ("localhost:8000", True),
        ("LOCALHOST.", True),
        (socket.gethostname(), True),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost@evil.example", False),
        ("[::1", False),
        ("localhost:x", False),
        ("", False),
    ],
)
def test_a_host_is_known_by_an_address_or_a_name_of_this_machine(host: str, known: bool) -> None:
    assert is_known_host(host, own_names()) is known


async def asked(headers: dict[str, str], *, peer: str = "127.0.0.1", method: str = "POST", **settings: Any) -> int:
    """The status that a request with these headers gets behind the guard."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({})(scope, receive, send)

    def refuse(_path: str, refusal: RequestRefusedError) -> Response:
        return JSONResponse({"error": refusal.sentence}, refusal.status)

    guard = BrowserGuardMiddleware(app, refuse=refuse, trusted=["127.0.0.1"], **settings)
    transport = httpx.ASGITransport(guard, client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        return (await client.request(method, "/language", headers=headers)).status_code


PROXIED = {"Host": "10.0.0.2", "X-Forwarded-Host": "kunst.example", "Origin": "https://kunst.example"}


@pytest.mark.parametrize(
    ("headers", "more", "status"),
    [
        ({}, {}, 200),
        ({"Origin": "http://localhost:8000", "Content-Type": "application/json"}, {}, 200),
        ({"Origin": "http://localhost:5000"}, {}, 403),
        ({"Origin": "http://evil.example"}, {}, 403),
        ({"Origin": "http://[::1"}, {}, 403),
        ({"Origin": "null"}, {}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, {}, 403),
        ({"Origin": "http://evil.example"}, {"method": "GET"}, 200),
        ({"Content-Type": "text/plain;charset=UTF-8"}, {}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, {}, 415),
        ({"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, {}, 421),
        ({"Host": "evil.example:8000"}, {"method": "GET"}, 421),
        # A rented machine's proxy, whose name nobody configured, is no trusted host.
        ({"Host": "pod-8000.proxy.example"}, {"peer": "100.64.0.7"}, 200),
        ({"Host": "pod-8000.proxy.example"}, {"peer": "100.64.0.7", "host_names": ["kunst.example"]}, 421),
        ({"Host": "kunst.example", "Origin": "https://kunst.example"}, {"host_names": ["Kunst.example"]}, 200),
        (PROXIED, {"behind_proxy": True}, 200),
        (PROXIED, {}, 403),
    ],
)
async def test_a_request_is_refused_where_its_headers_tell_of_another_site(
    headers: dict[str, str], more: dict[str, Any], status: int
) -> None:
    assert await asked(headers, **more) == status
