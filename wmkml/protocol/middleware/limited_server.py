"""uvicorn whose limits on connections hold with TLS from the first byte on.

uvicorn's protocol hears of a connection once its handshake is done: whoever opens connections and says nothing would be
neither counted nor cut.  Here a connection is counted when it is accepted, its handshake has as long as headers have, and
while it lasts the connection may have to give way as one without a request does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import Any

import uvicorn

from wmkml.protocol.middleware.connection_limits import ConnectionLimits

log = logging.getLogger(__name__)

NO_FILES_SECONDS = 1.0
"""How long nothing is accepted after no file could be opened for a connection."""


class LimitedServer(uvicorn.Server):
    """Serves sockets that listen already; without a certificate it is uvicorn's own server."""

    def __init__(self, config: uvicorn.Config, limits: ConnectionLimits) -> None:
        """`limits`: those of the configuration's protocol."""
        super().__init__(config)
        self._limits = limits
        self._accepting: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        context = self.config.ssl
        if context is None:
            await super().startup(sockets)
            return
        await super().startup([])
        for listener in sockets or []:
            listener.setblocking(False)
            self._accepting.append(asyncio.create_task(self._accept(listener, context)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        handshakes: set[_Handshake] = set()
        try:
            while True:
                try:
                    connection, peer = await loop.sock_accept(listener)
                except OSError as error:
                    log.warning("No connection could be accepted: %s.", error.strerror)
                    await asyncio.sleep(NO_FILES_SECONDS)
                    continue
                address = str(peer[0])
                if not self._limits.enter(address):
                    connection.close()
                    continue
                handshakes = {handshake for handshake in handshakes if not handshake.task.done()}
                handshakes.add(_Handshake(self, connection, address, context))
        finally:
            for handshake in handshakes:
                handshake.give_way()


class _Handshake:
    """A connection that is accepted and counted, until its protocol takes it over."""

    def __init__(self, server: LimitedServer, connection: socket.socket, address: str, context: ssl.SSLContext) -> None:
        self._server, self._connection, self._address, self._context = server, connection, address, context
        self._limits = server._limits
        self._counted = True
        self._limits.set_idle(self, True)
        self.task = asyncio.create_task(self._shake_hands())

    def give_way(self) -> None:
        """Close the connection, for another one or at the end."""
        self._leave()
        self.task.cancel()

    def _leave(self) -> None:
        self._limits.set_idle(self, False)
        if self._counted:
            self._counted = False
            self._limits.leave(self._address)

    async def _shake_hands(self) -> None:
        loop, config = asyncio.get_running_loop(), self._server.config

        def make_protocol() -> asyncio.Protocol:
            protocol: Any = config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self._server.server_state, app_state=self._server.lifespan.state
            )
            protocol.on_taken_over = self._leave
            return protocol  # type: ignore[no-any-return]

        try:
            # Whoever breaks a handshake off, or talks plain HTTP, has closed the connection, and nobody need hear of it.
            with contextlib.suppress(OSError, TimeoutError):
                await loop.connect_accepted_socket(
                    make_protocol,
                    self._connection,
                    ssl=self._context,
                    ssl_handshake_timeout=self._limits.header_seconds,
                )
        finally:
            if self._counted:
                self._connection.close()
            self._leave()
