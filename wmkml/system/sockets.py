"""The TCP sockets on which services listen."""

from __future__ import annotations

import socket

BACKLOG = 2048
"""Connections that wait to be accepted; as many as uvicorn asks for itself."""


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on this host and port; an empty host means every address.

    Connections accepted from it inherit TCP_NODELAY.  asyncio sets it only on sockets that name TCP as their protocol;
    without it every other small write, and the token in it, waits up to 40 ms for the reader's delayed acknowledgement.

    Raises:
        OSError: the address is not this machine's, or the port is taken.
    """
    family, kind, _, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.set_inheritable(False)
    return listening
