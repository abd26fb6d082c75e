"""Who may ask: this machine and other trusted hosts; from elsewhere a key opens everything, and nothing but `/language`.

The key comes as `X-Key`, as `?key=`, or as the OpenAI protocol's bearer token.  Knows no route but the open one.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from wmkml.inference.refusals import Refused, told
from wmkml.keys import Keys, opens
from wmkml.trust import FORWARDED, is_trusted

OPEN = {"/language"}
"""Paths that answer everybody."""


class Access:
    """ASGI middleware that lets a request through or answers 403."""

    def __init__(self, app: ASGIApp, keys: Keys, trusted: Sequence[str]) -> None:
        self._app = app
        self._keys = keys
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN or self._may(Request(scope)):
            await self._app(scope, receive, send)
            return
        refused = Refused(403, "From this address a key is needed (header X-Key).", "key_needed")
        await told(scope["path"], refused)(scope, receive, send)

    def _may(self, request: Request) -> bool:
        peer = request.client.host if request.client is not None else ""
        if is_trusted(peer, request.headers.getlist(FORWARDED), self._trusted):
            return True
        return opens(given_key(request), self._keys.operator, self._keys.worker)


def given_key(request: Request) -> str:
    """The key that came with a request; empty when none did."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    return request.headers.get("x-key") or request.query_params.get("key") or bearer
