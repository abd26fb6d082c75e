"""Refuses what another site's page has a browser send here: the rules of `wmkml.access.browser_requests` for a service.

No response allows another origin to read it (CORS), and a preflight is answered as any request with a wrong method.

Checked wherever a client sends these headers.  Programs, and the original's frontends among them, send no `Origin`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wmkml.access.browser_requests import (
    FORM_TYPE,
    SAFE_METHODS,
    is_foreign_origin,
    is_foreign_type,
    is_known_host,
    own_names,
)
from wmkml.access.trusted_hosts import is_trusted
from wmkml.protocol.base import RequestRefusedError

FORWARDED_HOST = "x-forwarded-host"
"""The header in which a proxy names the host that the browser asked for."""


RESPONSE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every response that does not say otherwise: it is no page, is part of no other site's page, is what it says
it is, and hears and sees nobody."""


class BrowserGuardMiddleware:
    """ASGI middleware: 421 for a host of another name, 403 for another site's page, 415 for a body of a form's type."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        refuse: Callable[[str, RequestRefusedError], Response],
        trusted: Sequence[str],
        host_names: Sequence[str] = (),
        behind_proxy: bool = False,
        hsts_seconds: int = 0,
        form_paths: Collection[str] = (),
    ) -> None:
        """Args:
        refuse: makes the response of a path and a refusal.
        trusted: addresses that are trusted; from them only a known host is taken, since a page there has their rights.
        host_names: further names of this installation; with any, no other name is taken from anywhere.
        behind_proxy: a proxy in front names the host that was asked for.
        hsts_seconds: how long browsers that came by https may take no other way; 0: not said.
        form_paths: the paths of plain forms on pages of ours.
        """
        self._app, self._refuse = app, refuse
        self._trusted, self._behind_proxy, self._form_paths = trusted, behind_proxy, form_paths
        self._host_names = frozenset(name.strip().lower() for name in host_names)
        self._names = own_names() | self._host_names
        self._hsts = f"max-age={hsts_seconds}" if hsts_seconds else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in RESPONSE_HEADERS.items():
                    headers.setdefault(name, value)
                if (
                    self._hsts and scope["scheme"] == "https"
                ):  # over plain HTTP browsers must not heed it (RFC 6797, 8.1)
                    headers["Strict-Transport-Security"] = self._hsts
            await send(message)

        refusal = self._refusal(Request(scope))
        app = self._app if refusal is None else self._refuse(scope["path"], refusal)
        await app(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> RequestRefusedError | None:
        headers = request.headers
        host = headers.get("host")
        if host is not None and self._checks_host(request) and not is_known_host(host, self._names):
            return RequestRefusedError(
                421, "This is not a name of this installation; general.host_names holds more.", "unknown_host"
            )
        if request.method in SAFE_METHODS:
            return None
        hosts = [host or ""]
        if self._behind_proxy and FORWARDED_HOST in headers:
            hosts += headers[FORWARDED_HOST].split(",")
        if is_foreign_origin(headers.get("origin"), headers.get("sec-fetch-site"), hosts, self._host_names):
            return RequestRefusedError(403, "Pages of other sites may not do this.", "foreign_origin")
        if is_foreign_type(headers.get("content-type")):
            is_form = headers["content-type"].startswith(FORM_TYPE)
            if not (is_form and request.url.path in self._form_paths):
                return RequestRefusedError(415, "Send JSON, as application/json.", "content_type")
        return None

    def _checks_host(self, request: Request) -> bool:
        if self._host_names:
            return True
        peer = request.client.host if request.client is not None else ""
        return not self._behind_proxy and is_trusted(peer, (), self._trusted)
