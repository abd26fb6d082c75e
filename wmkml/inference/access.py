"""Who may ask: this machine and other trusted hosts; from elsewhere a key opens everything, and nothing but `/language`.

The key comes as `X-Key`, as `?key=`, or as the OpenAI protocol's bearer token.  Knows no route but the open one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from wmkml.inference.refusals import Refused, told
from wmkml.keys import Keys, opens

OPEN = {"/language"}
"""Paths that answer everybody."""


class Access:
    """ASGI middleware that lets a request through or answers 403."""

    def __init__(self, app: ASGIApp, keys: Keys, trusted: Sequence[str]) -> None:
        self._app = app
        self._keys = keys
        self._trusted = {_plain(host) for host in trusted}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN or self._may(Request(scope)):
            await self._app(scope, receive, send)
            return
        refused = Refused(403, "From this address a key is needed (header X-Key).", "key_needed")
        await told(scope["path"], refused)(scope, receive, send)

    def _may(self, request: Request) -> bool:
        if request.client is not None and _plain(request.client.host) in self._trusted:
            return True
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        given = request.headers.get("x-key") or request.query_params.get("key") or bearer
        return opens(given, self._keys.operator, self._keys.worker)


def _plain(host: str) -> str:
    """An address in one spelling: IPv4 inside IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)
