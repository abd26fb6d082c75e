"""Limits on connections, for a service behind uvicorn: how many, how slow, how large their headers.

uvicorn's own `limit_concurrency` answers 503 to requests; a connection that sends none is kept for ever, and each holds an
open file.  This is uvicorn's HTTP protocol with clocks and counts around it:

- a connection beyond its address's number is closed at once, with 503;
- one beyond the whole number takes the place of the one that has been without a request for longest, or is closed so too;
- a request's headers must be there within HEADER_SECONDS, and in HEADER_BYTES;
- a client that takes nothing of what it is sent for STALLED_SECONDS is cut.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADER_SECONDS = 15.0
"""How long a request's headers may take from the connection's, or the request's, first byte on."""

HEADER_BYTES = 64 * 1024
"""The most bytes that may arrive before a request's headers are complete; its body may have begun in them."""

STALLED_SECONDS = 60.0
"""How long a client may take nothing while there is something to send: an event stream says something every 15 s."""

SPARE_FILES = 200
"""Open files that a service needs besides its connections: databases, logs, pages, its own requests."""

LEAST_CONNECTIONS = 64
"""Fewer connections are never allowed, however few files may be open."""


TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class IdleConnection(Protocol):
    """A connection without a request."""

    def give_way(self) -> None:
        """Close it for another one."""
        ...


class ConnectionLimits:
    """The connections of one service, counted."""

    def __init__(
        self,
        most: int,
        most_of_address: int,
        *,
        open_files: int,
        header_seconds: float = HEADER_SECONDS,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        """Args:
        most: connections of all clients together; fewer where fewer files may be open.
        most_of_address: connections of one address; 0: no limit, as behind a proxy.
        open_files: how many files this process may hold open.
        """
        self.most = max(LEAST_CONNECTIONS, min(most, open_files - SPARE_FILES))
        self.most_of_address = most_of_address or self.most
        self.header_seconds, self.stalled_seconds = header_seconds, stalled_seconds
        self._of_address: Counter[str] = Counter()
        self._idle: dict[IdleConnection, None] = {}
        """Connections without a request, the one that has been so for longest first."""
        self.count = 0

    def enter(self, address: str) -> bool:
        """Count a connection; False: there are too many, and it is not counted."""
        if self._of_address[address] >= self.most_of_address:
            return False
        if self.count >= self.most:
            if not self._idle:
                return False
            next(iter(self._idle)).give_way()
        self.count += 1
        self._of_address[address] += 1
        return True

    def set_idle(self, connection: IdleConnection, idle: bool) -> None:
        """Note that a connection is without a request from now on, or no longer."""
        self._idle.pop(connection, None)
        if idle:
            self._idle[connection] = None

    def leave(self, address: str) -> None:
        """A connection that was counted is closed."""
        self.count -= 1
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    def protocol(self) -> type[asyncio.Protocol]:
        """The protocol class for `uvicorn.Config(http=…)`."""
        return type("LimitedProtocol", (_LimitedProtocol,), {"limits": self})


class _LimitedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, by what is installed
    limits: ConnectionLimits
    transport: Any
    cycle: Any
    on_taken_over: Callable[[], None] | None = None
    """Counts no longer a connection that was counted when it was accepted (`LimitedServer`), before this protocol counts it."""

    def connection_made(self, transport: Any) -> None:
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._awaits_headers = True
        if self.on_taken_over is not None:
            self.on_taken_over()
        self._counted = self.limits.enter(self._address)
        super().connection_made(transport)
        if self._counted:
            self.limits.set_idle(self, True)
            self._expect_headers()
        else:
            transport.write(TOO_MANY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._stop_header_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def give_way(self) -> None:
        """Close this connection, which has no request, for another one."""
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        self.limits.set_idle(self, False)
        if self._counted:
            self._counted = False
            self.limits.leave(self._address)

    def data_received(self, data: bytes) -> None:
        if not self._counted or self.transport.is_closing():
            return
        super().data_received(data)
        if (connection := getattr(self, "conn", None)) is not None:  # h11's, which calls nobody at a request's parts
            self._awaits_headers = str(connection.their_state) == "IDLE"
        if not self._awaits_headers:
            self._header_bytes = 0
            self._stop_header_timer()
            if self.cycle is not None and not self.cycle.response_complete:
                self.limits.set_idle(self, False)
            return
        self._header_bytes += len(data)
        self._expect_headers()
        if self._header_bytes > HEADER_BYTES and not self.transport.is_closing():
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """httptools: a request begins."""
        self._awaits_headers, self._header_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """httptools: a request's headers are complete."""
        self._awaits_headers = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request is answered."""
        super().on_response_complete()
        if self._counted and not self.transport.is_closing() and self.cycle.response_complete:
            self.limits.set_idle(self, True)

    def pause_writing(self) -> None:
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._stall_timer = loop.call_later(self.limits.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_stall_timer()

    def _expect_headers(self) -> None:
        if self._header_timer is None:
            loop = asyncio.get_running_loop()
            self._header_timer = loop.call_later(self.limits.header_seconds, self.transport.abort)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
