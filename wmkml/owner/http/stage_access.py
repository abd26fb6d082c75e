"""Access to the stage, which shows all visitors' words.

It requires the stage's key, as header, query parameter or cookie, from this machine, too: a visitor's browser often
runs on the owner's machine.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from wmkml.access.key_ring import KeyRing
from wmkml.access.keys import key_matches
from wmkml.owner.http.http_requests import is_https, key_of, require_key

COOKIE = "wmkml_stage"
COOKIE_SECONDS = 400 * 24 * 3600
"""400 days, the longest that browsers keep a cookie: a projector's browser stays open for weeks."""


def may_see_stage(request: Request, keys: KeyRing) -> bool:
    """Whether a request carries a key that gives access to all visitors' words."""
    return key_matches(key_of(request), keys.stage, keys.operator) or key_matches(
        request.cookies.get(COOKIE), keys.stage
    )


def require_stage_key(request: Request, keys: KeyRing) -> None:
    """Refuse a request that carries no key giving access to all visitors' words.

    Raises:
        RequestRefusedError: 401.
    """
    if not may_see_stage(request, keys):
        require_key(request, "stage", keys.stage, keys.operator)


def redirect_without_key(request: Request, keys: KeyRing, page: str = "stage") -> Response:
    """Redirect to the page's address without the key.  The stage's own key, and no other, is kept as a cookie."""
    query = request.url.remove_query_params("key").query
    # Relative, so that it also works behind a proxy that serves the pages under another path.
    response = RedirectResponse(page + (f"?{query}" if query else ""), 303)
    if key_matches(request.query_params["key"], keys.stage):
        secure = is_https(request)
        response.set_cookie(COOKIE, keys.stage, max_age=COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure)
    return response
