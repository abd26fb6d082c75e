"""Whether a request may come from another site's page: rules over the headers that browsers add by themselves.

A browser on a machine that is trusted obeys every page that is open in it.  Such a page can post to this machine without
asking (cross-site request forgery), and can have its own name point here (DNS rebinding).  Browsers tell of both: by
`Origin`, `Sec-Fetch-Site` and `Host`, and by the three content types that they send anywhere.  Programs send no
`Origin`, and are not concerned.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, section 9.2.1)."""

FORM_TYPE = "application/x-www-form-urlencoded"

FOREIGN_TYPES = frozenset({"text/plain", "multipart/form-data", FORM_TYPE})
"""The content types that a page may post to another site without its leave (Fetch standard, `CORS-safelisted`)."""


def own_names() -> frozenset[str]:
    """The names of this machine, in lower case, under which a browser in its network may know it."""
    whole = socket.gethostname().lower()
    first = whole.partition(".")[0]
    return frozenset({"localhost", whole, first, f"{first}.local"} - {""})


def is_known_host(host: str, names: Iterable[str]) -> bool:
    """Whether a `Host` header names this installation: by an address, or by one of these names.

    An address cannot be rebound: only names are looked up.

    Args:
        names: in lower case.
    """
    name = _name_of(host)
    if name is None:
        return False
    if _is_address(name) or name.endswith(".localhost"):
        return True
    return name in names


def is_foreign_origin(origin: str | None, fetch_site: str | None, hosts: Iterable[str], names: Iterable[str]) -> bool:
    """Whether a request comes from a page of another site.

    Args:
        origin, fetch_site: the headers `Origin` and `Sec-Fetch-Site`; None where a client sends none, as programs do.
        hosts: the host and port that the request was sent to, in each spelling that counts.
        names: host names whose pages are ours at any port.
    """
    if fetch_site is not None and fetch_site.lower() not in ("same-origin", "none"):
        return True
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        name = parts.hostname
    except ValueError:
        return True
    if parts.scheme not in ("http", "https") or not parts.netloc or name is None:
        return True  # `null`, of a file or a frame that is shut in
    return parts.netloc.lower() not in {host.strip().lower() for host in hosts} and name not in set(names)


def is_foreign_type(content_type: str | None) -> bool:
    """Whether a body has one of the types that any page may post here; None: the client names no type."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() in FOREIGN_TYPES


def _name_of(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host.strip()}")
        _ = parts.port  # a port that is no number
        name = parts.hostname
    except ValueError:
        return None
    if not name or "@" in parts.netloc or parts.path or parts.query or parts.fragment:
        return None
    return name.rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
