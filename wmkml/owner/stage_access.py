"""Who may see the projection: whoever brings the stage's key, in the header, in the address, or as the cookie it left.

The key is asked for from everywhere, this machine included: a visitor's browser often runs on the very machine that the
owner runs on, and must not come by everybody's words.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from wmkml.keys import Keys, opens
from wmkml.owner.reading import given_key, require_key

COOKIE = "wmkml_stage"
COOKIE_SECONDS = 400 * 24 * 3600
"""As long as browsers keep any; a projector's browser stays open for weeks and opens nobody else's door."""


def opens_stage(request: Request, keys: Keys) -> bool:
    """Whether a request brings a key that shows everybody's words."""
    return opens(given_key(request), keys.stage, keys.operator) or opens(request.cookies.get(COOKIE), keys.stage)


def require_stage(request: Request, keys: Keys) -> None:
    """Refuse a request that may not see everybody's words.

    Raises:
        Refusing: 401.
    """
    if not opens_stage(request, keys):
        require_key(request, "stage", keys.stage, keys.operator)


def let_in(request: Request, keys: Keys) -> Response:
    """To the stage without the key in the address; the cookie is given for the stage's own key alone."""
    rest = request.url.remove_query_params("key").query
    # Relative, so that it also leads back behind a proxy that serves the pages under a path of its own.
    reply = RedirectResponse("stage" + (f"?{rest}" if rest else ""), 303, headers={"Cache-Control": "no-store"})
    if opens(request.query_params["key"], keys.stage):
        reply.set_cookie(COOKIE, keys.stage, max_age=COOKIE_SECONDS, httponly=True, samesite="strict")
    return reply
