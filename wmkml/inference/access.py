"""Access control of :8011: trusted hosts may use every path, others only `/language` unless they send a key.

The key comes in the header `X-Key`, in the query as `?key=`, or as the OpenAI protocol's bearer token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from wmkml.access.keys import key_matches
from wmkml.access.trusted_hosts import FORWARDED_FOR, is_loopback, is_trusted
from wmkml.inference.refusals import refusal_response
from wmkml.protocol.base import RequestRefusedError

OPEN_PATHS = {"/language"}
"""Paths that need neither a trusted host nor a key."""

PROBED_PATHS = {"/healthz"}
"""Open too where no address is trusted, and to this machine always: launcher and worker ask there, without a key, whether it
lives, and hear no word of anybody.  What a proxy on this machine passes on is not from this machine, and a key that is sent
must be right: a head learns there that its key is not a node's."""


class AccessMiddleware:
    """ASGI middleware that answers 403 to requests that are neither from a trusted host nor carry a key."""

    def __init__(self, app: ASGIApp, keys: Callable[[], Sequence[str]], trusted: Sequence[str]) -> None:
        """`keys`: those that are valid now; called for every request, since they may be rotated."""
        self._app = app
        self._keys = keys
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        is_open = (
            scope["type"] != "http"
            or scope["path"] in OPEN_PATHS
            or (scope["path"] in PROBED_PATHS and (not self._trusted or _is_from_here(Request(scope))))
        )
        if is_open or self._is_allowed(Request(scope)):
            await self._app(scope, receive, send)
            return
        refusal = RequestRefusedError(403, "From this address a key is needed (header X-Key).", "key_needed")
        await refusal_response(scope["path"], refusal)(scope, receive, send)

    def _is_allowed(self, request: Request) -> bool:
        peer = request.client.host if request.client is not None else ""
        if is_trusted(peer, request.headers.getlist(FORWARDED_FOR), self._trusted):
            return True
        return key_matches(given_key(request), *self._keys())


def _is_from_here(request: Request) -> bool:
    """Whether a program of this machine asks, without a key: by its loopback, or by the address at which this is reached."""
    if request.client is None or FORWARDED_FOR in request.headers or given_key(request):
        return False
    own = (request.scope.get("server") or ("",))[0]
    return is_loopback(request.client.host) or request.client.host == own


def given_key(request: Request) -> str:
    """The key sent with a request; empty if there is none."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    return request.headers.get("x-key") or request.query_params.get("key") or bearer
