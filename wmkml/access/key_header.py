"""Sends a key that may be rotated at any moment: with every request the one that is valid now."""

from __future__ import annotations

from collections.abc import Callable, Generator

import httpx

REFUSED = (401, 403)


class KeyHeader(httpx.Auth):
    """Sets `X-Key`; a request that is refused, and whose key was rotated while it was under way, is sent once more."""

    def __init__(self, key: Callable[[], str]) -> None:
        """`key` is called for every request."""
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """One request, or two (`httpx.Auth`)."""
        sent = request.headers["X-Key"] = self._key()
        response = yield request
        if response.status_code in REFUSED and (key := self._key()) != sent:
            request.headers["X-Key"] = key
            yield request
