"""`Cache-Control: no-store` on every HTTP response that does not say itself how long it may be kept.

Browsers and proxies may otherwise keep a response on their disks, and with it visitors' words, after the run and the
browser have ended.  Nearly every response may hold words, so the exceptions are named, not the rule: a response that
may be kept (a page's file) sets `Cache-Control` by itself.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_STORE = "no-store"
"""Keep this response nowhere, not even to ask later whether it has changed (RFC 9111, section 5.2.2.5)."""


class NoStoreMiddleware:
    """ASGI middleware that adds the header; the outermost, so that refusals get it too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its response back with the header."""

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("Cache-Control", NO_STORE)
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)
