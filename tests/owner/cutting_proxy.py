"""A proxy that cuts a connection on which nothing came back for a while, as those of providers do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LOOK_SECONDS = 0.02
"""How often the proxy compares the clock."""


class CuttingProxy:
    """Passes TCP connections on to a port of this machine.

    `cut`: how many connections were cut because nothing had come back from there for `silent_seconds` of the clock.
    `requested`: bytes that were passed on to there.
    """

    def __init__(self, port: int, silent_seconds: float, clock: Callable[[], float]) -> None:
        self._target, self._silent_seconds, self._clock = port, silent_seconds, clock
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.cut = self.requested = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._return, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
                self.requested += len(data)

    def _return(self, server: socket.socket, client: socket.socket) -> None:
        """Pass on what comes back, and cut where nothing does."""
        server.settimeout(LOOK_SECONDS)
        heard = self._clock()
        while True:
            try:
                data = server.recv(65536)
            except TimeoutError:
                if self._clock() - heard < self._silent_seconds:
                    continue
                self.cut += 1
                data = b""
            except OSError:
                data = b""
            if not data:
                break
            heard = self._clock()
            try:
                client.sendall(data)
            except OSError:
                break
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def cutting_proxy(port: int, silent_seconds: float, clock: Callable[[], float]) -> Iterator[CuttingProxy]:
    """A proxy before this port; see `CuttingProxy`."""
    proxy = CuttingProxy(port, silent_seconds, clock)
    try:
        yield proxy
    finally:
        proxy.close()
