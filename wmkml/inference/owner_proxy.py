"""Forwards to the owner the requests that reach :8011 but are the owner's to decide, on behalf of their sender."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
from fastapi import Request
from fastapi.responses import Response

from wmkml.access.trusted_hosts import FORWARDED_FOR, forwarded_for

OWNER_TIMEOUT = 30.0
"""Seconds the owner may take to start a run, or to have an adapter loaded."""


class OwnerUnreachableError(ConnectionError):
    """Nothing answers at the owner's address."""


async def forward_request(
    request: Request, owner: str, path: str, body: dict[str, Any], verify: ssl.SSLContext | bool
) -> Response:
    """Post `body` to `path` of the owner; returns the owner's response unchanged.

    The owner is told the addresses the request came from (`X-Forwarded-For`), since it trusts some hosts only.

    Args:
        owner: the owner's URL.
        verify: of an owner with https, as httpx takes it.

    Raises:
        OwnerUnreachableError: nothing answers there.
    """
    peer = request.client.host if request.client is not None else "unknown"
    headers = {
        "X-WMKML-Via": "inference",
        "X-Forwarded-For": forwarded_for(peer, request.headers.getlist(FORWARDED_FOR)),
    }
    async with httpx.AsyncClient(timeout=OWNER_TIMEOUT, trust_env=False, verify=verify) as client:
        try:
            response = await client.post(f"{owner}{path}", json=body, headers=headers)
        except httpx.TransportError:
            raise OwnerUnreachableError("nobody answers at the owner's port") from None
    return Response(response.content, response.status_code, media_type="application/json")
