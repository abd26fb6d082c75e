"""Listening sockets: accepted connections send every small write at once (TCP_NODELAY), with and without an event loop."""

from __future__ import annotations

import asyncio
import socket

import pytest

from wmkml.system.sockets import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
def test_what_is_accepted_sends_at_once(host: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((host or "localhost", port)) as caller, listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            caller.sendall(b"x")
            assert accepted.recv(1) == b"x"


async def test_it_does_so_in_an_event_loop_too() -> None:
    accepted_option = asyncio.get_running_loop().create_future()

    async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted_option.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listen("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert await accepted_option
            writer.close()


def test_a_port_in_use_is_an_error() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", listener.getsockname()[1])
