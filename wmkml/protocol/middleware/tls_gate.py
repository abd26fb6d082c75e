"""TLS handshakes within the limits on connections, for a service behind uvicorn.

Where a server is given a TLS context, asyncio tells its protocol of a connection when the handshake is over, and allows it a
minute: whoever connects and says nothing is counted by nobody until then, and holds an open file.  Here a connection is
counted when it is accepted, and has as long for its handshake as for its headers.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from wmkml.protocol.middleware.connection_limits import ConnectionLimits

SERVER_WITH_TLS: Mapping[str, Any] = {"loop": "asyncio", "backlog": 64}
"""What uvicorn's configuration must have for a gate.  The event loop: uvloop reads a handshake's first bytes before it can be told
to wait.  The backlog: asyncio accepts so many before it tells of the first, and each holds an open file."""


class TlsGate(asyncio.Protocol):
    """A connection until its handshake is done; then it is handed to a protocol that speaks HTTP."""

    def __init__(
        self, limits: ConnectionLimits, context: ssl.SSLContext, make_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._limits, self._context, self._make_protocol = limits, context, make_protocol
        self._address = ""
        self._counted = False
        self._transport: Any = None
        self._handshake: asyncio.Task[None] | None = None
        self._early = bytearray()
        """What the client sent in its handshake's last packet, before there was a protocol for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._counted = self._limits.enter(self._address)
        if not self._counted:
            self._transport.abort()  # nothing can be said without TLS
            return
        self._limits.set_idle(self, True)
        self._transport.pause_reading()  # the handshake's first bytes are for TLS
        self._handshake = asyncio.get_running_loop().create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def give_way(self) -> None:
        """Close this connection, which has no request, for another one."""
        self._leave()
        self._transport.abort()

    async def _shake_hands(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport: Any = await loop.start_tls(
                self._transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._limits.header_seconds,
            )
        except OSError:  # of TLS too; the client has gone, speaks something else, or took too long
            transport = None
        if transport is None or transport.is_closing() or not self._counted:
            self._leave()
            self._transport.abort()
            return
        # It is counted again by the protocol, before anything else can be.
        self._leave()
        protocol = self._make_protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._early:
            protocol.data_received(bytes(self._early))

    def _leave(self) -> None:
        self._limits.set_idle(self, False)
        if self._counted:
            self._counted = False
            self._limits.leave(self._address)


def through_tls(config: uvicorn.Config, limits: ConnectionLimits) -> ssl.SSLContext:
    """Let the gate make the handshakes of a loaded configuration, in uvicorn's place; returns its context.

    Args:
        config: with a certificate, and with `limits.protocol()` as its `http`.
    """
    context, make_protocol = config.ssl, config.http_protocol_class
    assert context is not None

    def make_gate(**of_server: Any) -> TlsGate:
        return TlsGate(limits, context, functools.partial(make_protocol, **of_server))

    config.ssl = None
    config.http_protocol_class = make_gate  # type: ignore[assignment]  # it is called as the class would be
    return context
