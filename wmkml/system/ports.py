"""TCP and UDP ports of this machine: is one free, who listens on it, a free one; and this machine's own address."""

from __future__ import annotations

import errno
import socket

import psutil


def is_free(host: str, port: int) -> bool:
    """Whether a TCP server could listen there now.

    Raises:
        OSError: the address is not this machine's, or this user may not listen on the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection in TIME_WAIT must not block a restart.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def describe_listener(port: int) -> str:
    """Who listens on a TCP port, as ` by name (process 123)`; empty if this user may not know."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listening and connection.pid:
            return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def own_address() -> str | None:
    """This machine's IPv4 address in its network, for a link that others can open; None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing: it only looks up the route (192.0.2.0/24 is reserved for examples).
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") or address == "0.0.0.0" else address
