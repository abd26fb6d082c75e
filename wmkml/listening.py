"""The sockets on which services listen.  Knows no service and no protocol above TCP."""

from __future__ import annotations

import socket

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens there; an empty host means everywhere.

    What is accepted from it sends at once.  An event loop would see to that by itself only where the socket names its
    protocol; else every other small write waits for the reader's delayed acknowledgement, 40 ms, and a token with it.

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
