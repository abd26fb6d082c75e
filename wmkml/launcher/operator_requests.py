"""What commands ask of the owner that runs on this machine, with the operator's key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from wmkml.access.keys import KeysUnreadableError, load_keys
from wmkml.access.tls import CertificateError, owner_verification
from wmkml.config import Settings
from wmkml.config.addresses import owner_url
from wmkml.config.paths import paths_of

REPLY_SECONDS = 10.0
"""How long the owner may take to answer."""


class OwnerRequestError(RuntimeError):
    """The owner did not do what it was asked; the text says why."""


def ask_owner(settings: Settings, root: Path, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post a message to the owner, and return its reply.

    Args:
        root: the folder that the settings' paths are relative to.
        path: a route, as `/operator/panic`.

    Raises:
        OwnerRequestError: it cannot be reached, or refuses.
    """
    return dict(_asked(settings, root, "POST", path, body).json())


def read_owner(settings: Settings, root: Path, path: str) -> str:
    """The JSON that the owner has at a route, as text.

    Raises:
        OwnerRequestError: it cannot be reached, or refuses.
    """
    return _asked(settings, root, "GET", path, None).text


def _asked(settings: Settings, root: Path, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
    address = owner_url(settings)
    paths = paths_of(settings, root)
    try:
        headers = {"X-Key": load_keys(paths).operator}
        reply = httpx.request(
            method,
            address + path,
            json=body,
            headers=headers,
            timeout=REPLY_SECONDS,
            trust_env=False,
            verify=owner_verification(paths),
        )
        answer = dict(reply.json())
    except (KeysUnreadableError, CertificateError) as error:
        raise OwnerRequestError(str(error)) from None
    except (httpx.TransportError, ValueError):
        raise OwnerRequestError(
            f"No installation answers at {address}. Is it running? ./master_script.sh status"
        ) from None
    if reply.status_code != 200:
        raise OwnerRequestError(str(answer.get("error", f"The owner answers with status {reply.status_code}.")))
    return reply
