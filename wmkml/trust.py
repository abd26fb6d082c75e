"""Whom a request comes from, and whether that host is trusted: one rule for every service that asks.

A proxy on this machine says whom it speaks for (`X-Forwarded-For`); that takes trust away and never gives any.
Knows addresses and no route.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

FORWARDED = "x-forwarded-for"
"""The header's name, as requests are asked for it."""


def is_trusted(peer: str, forwarded: Sequence[str], hosts: Sequence[str]) -> bool:
    """Whether a request comes from a trusted host.

    Args:
        peer: the address at the other end of the connection.
        forwarded: the request's `X-Forwarded-For` lines; believed only of a peer on this machine.
        hosts: the trusted addresses.
    """
    known = {_address(host) for host in hosts}
    here = _address(peer)
    passed_on = [_address(part) for line in forwarded for part in line.split(",")]
    everybody = [here, *passed_on] if _is_loopback(here) else [here]
    return all(one in known for one in everybody)


def passed_on(peer: str, forwarded: Sequence[str]) -> str:
    """The `X-Forwarded-For` to send on with a request that came from `peer`: nobody it was sent for is forgotten."""
    return ", ".join([*forwarded, peer])


def _address(host: str) -> str:
    """An address in one spelling: IPv4 inside IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(host.strip())
    except ValueError:
        return host.strip().lower()
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
