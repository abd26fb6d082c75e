"""Whether a request comes from a trusted host: one rule for all services.

A proxy on this machine names the original sender in `X-Forwarded-For`.  The header can only reduce trust: the request
is trusted if the peer and every forwarded address are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

FORWARDED_FOR = "x-forwarded-for"
"""The header in which a proxy names the addresses a request passed through."""


def is_trusted(peer: str, forwarded: Sequence[str], hosts: Sequence[str]) -> bool:
    """Whether a request comes from a trusted host.

    Args:
        peer: the address at the other end of the connection.
        forwarded: the request's `X-Forwarded-For` lines; considered only if the peer is this machine.
        hosts: the trusted addresses.
    """
    trusted = {_normalized(host) for host in hosts}
    sender = _normalized(peer)
    proxied = [_normalized(part) for line in forwarded for part in line.split(",")]
    senders = [sender, *proxied] if is_loopback(sender) else [sender]
    return all(address in trusted for address in senders)


def forwarded_for(peer: str, forwarded: Sequence[str]) -> str:
    """The `X-Forwarded-For` value for passing a request on: the addresses it already names, then `peer`."""
    return ", ".join([*forwarded, peer])


def _normalized(host: str) -> str:
    """An address in canonical spelling, IPv4 mapped into IPv6 as IPv4; a host name in lower case."""
    try:
        address = ipaddress.ip_address(host.strip())
    except ValueError:
        return host.strip().lower()
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def is_loopback(host: str) -> bool:
    """Whether this is an address by which a machine reaches itself; a name is none."""
    try:
        return ipaddress.ip_address(_normalized(host)).is_loopback
    except ValueError:
        return False
