"""Passing a request on to the owner, whose business it is, under the name of whoever sent it.

Knows where the owner is; knows no engine and decides nothing.
"""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import Request
from fastapi.responses import Response

from wmkml.trust import FORWARDED, passed_on

OWNER_SECONDS = 30.0
"""How long the owner may take to start a run, or to have an adapter loaded."""


class OwnerAway(ConnectionError):
    """Nobody answers where the owner is."""


async def pass_on(request: Request, owner: str, path: str, body: dict[str, Any]) -> Response:
    """The owner's answer to this body at `path`, as it gave it.

    Raises:
        OwnerAway: nobody answers there.
    """
    peer = request.client.host if request.client is not None else "unknown"
    headers = {"X-WMKML-Via": "inference", "X-Forwarded-For": passed_on(peer, request.headers.getlist(FORWARDED))}
    async with httpx.AsyncClient(timeout=OWNER_SECONDS, trust_env=False) as client:
        try:
            said = await client.post(f"{owner}{path}", json=body, headers=headers)
        except httpx.TransportError:
            raise OwnerAway("nobody answers at the owner's port") from None
    return Response(said.content, said.status_code, media_type="application/json")
