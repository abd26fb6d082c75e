"""Clients that are slow, broken, greedy or many, and messages that are nearly right, at every route of both ports.

What must hold: no server error, no line of a program's insides in a reply, and a visitor beside them is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time

import httpx

from wmkml.siege.doors import INFERENCE_DOORS, OWNER_DOORS, Door, opening_headers
from wmkml.siege.messages import MessageMaker
from wmkml.siege.options import SiegeOptions
from wmkml.siege.report import SectionReport
from wmkml.siege.sieged_cluster import CannotSiegeError, SiegedCluster, say
from wmkml.system.open_files import raise_open_file_limit

WAVE = 500
"""So many connections are opened together; before the next wave a visitor must be answered."""

HELD_OPEN = 2_000
"""So many of them are kept open at a time, if this program may hold as many files."""

BROKEN_REQUESTS = 24
"""Kinds of `broken_requests`, each sent to two ports."""

VISITOR_SECONDS = 30.0
"""How long a visitor may wait for a page's state meanwhile."""

WAIT_SECONDS = 3.0
"""How long a door that may let wait is waited for: its message has been read by then."""

READ_BYTES = 20_000
"""So much of a reply is read; streams have no end."""

INSIDES = re.compile(rb'Traceback|File "/|site-packages|\.py", line|pydantic_core|sqlite3\.')
"""What a reply must never hold."""

AWAY = (502, 503, 507)
"""Refusals that say when to ask again, or what is wrong with the disk; they are no faults."""


def broken_requests(host: str) -> dict[str, bytes]:
    """Bytes that are no proper request, by what is wrong with them; `host` for those that need one."""
    head = f"Host: {host}\r\n".encode()
    post = b"POST /chat HTTP/1.1\r\n" + head + b"Content-Type: application/json\r\n"
    return {
        "nothing": b"",
        "noise": bytes(random.Random(1).randrange(256) for _ in range(4096)),
        "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        "half a line": b"GET /sta",
        "no version": b"GET /state\r\n\r\n",
        "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
        "a line of 1 MB": b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\n" + head + b"\r\n",
        "a header of 1 MB": b"GET /state HTTP/1.1\r\n" + head + b"X-A: " + b"a" * 2**20 + b"\r\n\r\n",
        "50,000 headers": b"GET /state HTTP/1.1\r\n" + head + b"X-A: a\r\n" * 50_000 + b"\r\n",
        "a header without a name": b"GET /state HTTP/1.1\r\n" + head + b": a\r\n\r\n",
        "a header with a zero": b"GET /state HTTP/1.1\r\n" + head + b"X-A: a\x00b\r\n\r\n",
        "two lengths": post + b"Content-Length: 2\r\nContent-Length: 50\r\n\r\n{}",
        "a negative length": post + b"Content-Length: -1\r\n\r\n{}",
        "a length of 1 PB": post + b"Content-Length: 1125899906842624\r\n\r\n{}",
        "length and chunks": post
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "chunks that are none": post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "an endless chunk": post + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
        "a body of 20 MB": post + b"Content-Length: 20971520\r\n\r\n" + b"a" * 20_971_520,
        "half a body": post + b'Content-Length: 500\r\n\r\n{"prompt": "',
        "an upgrade": b"GET /events HTTP/1.1\r\n" + head + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "a method that is none": b"BREW /state HTTP/1.1\r\n" + head + b"\r\n",
        "another host": b"GET /state HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "no host": b"GET /state HTTP/1.1\r\n\r\n",
        "1000 requests at once": (b"GET /healthz HTTP/1.1\r\n" + head + b"\r\n") * 1000,
    }


async def attack_clients(cluster: SiegedCluster, options: SiegeOptions, report: SectionReport) -> None:
    """Broken requests at both ports, then `options.connections` connections, then `options.messages` messages."""
    await cluster.until_ready()
    await cluster.begin_run()
    for address in (cluster.owner_address, cluster.inference_address):
        port = httpx.URL(address).port or 80
        for name, content in broken_requests(f"127.0.0.1:{port}").items():
            if options.time_is_up():
                return
            await _send_broken(cluster, port, name, content, report)
    await _open_many(cluster, options, report)
    await _send_messages(cluster, options, report)
    await cluster.until_ready()
    await cluster.end_run()


async def visitor_seconds(cluster: SiegedCluster) -> float | None:
    """How long a visitor waits for the run's state on a connection of its own; None where it does not come."""
    began = time.monotonic()
    try:
        async with httpx.AsyncClient(timeout=VISITOR_SECONDS, trust_env=False) as visitor:
            response = await visitor.get(f"{cluster.owner_address}/state")
    except httpx.HTTPError:
        return None
    return time.monotonic() - began if response.status_code == 200 else None


async def _send_broken(cluster: SiegedCluster, port: int, name: str, content: bytes, report: SectionReport) -> None:
    report.tried += 1
    report.count("broken requests")
    reply = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(content)
                with contextlib.suppress(OSError):
                    await writer.drain()
                async with asyncio.timeout(1.5):
                    reply = await reader.read(READ_BYTES)
            finally:
                writer.close()
    problems = _reply_problems(reply)
    if await visitor_seconds(cluster) is None:
        problems.append("a visitor was not answered afterwards")
    report.held += not problems
    for problem in problems:
        report.add_problem(f"{name}, at port {port}: {problem}.")


def _reply_problems(reply: bytes) -> list[str]:
    problems = ["a program's insides are in the reply"] if INSIDES.search(reply) else []
    status = re.match(rb"HTTP/1\.[01] (\d{3})", reply)
    if status is not None and int(status[1]) >= 500 and int(status[1]) not in AWAY:
        problems.append(f"status {status[1].decode()}")
    return problems


async def _open_many(cluster: SiegedCluster, options: SiegeOptions, report: SectionReport) -> None:
    """Open connections from many addresses that send half a request each, and leave them."""
    held_open = min(HELD_OPEN, raise_open_file_limit() - 200)
    port = httpx.URL(cluster.owner_address).port or 80
    opened: list[asyncio.StreamWriter] = []
    number = 0
    try:
        while number < options.connections and not options.time_is_up():
            wave = min(WAVE, options.connections - number)
            new = await asyncio.gather(*(_half_open(port, number + place) for place in range(wave)))
            opened += [writer for writer in new if writer is not None]
            report.count("connections that were taken", sum(writer is not None for writer in new))
            number += wave
            report.tried += wave
            seconds = await visitor_seconds(cluster)
            if seconds is None:
                report.add_problem(f"With {len(opened)} connections open a visitor was not answered.")
            else:
                report.held += wave
                report.note_worst("a visitor's wait among the connections, s", seconds)
            while len(opened) > held_open:
                opened.pop(0).close()
        report.figures["connections held open at a time"] = len(opened)
    finally:
        for writer in opened:
            writer.close()
    say(f"clients: {number} connections opened.")


async def _half_open(port: int, number: int) -> asyncio.StreamWriter | None:
    # All of 127.0.0.0/8 is this machine: so many connections come from as many addresses as a crowd has.
    source = f"127.{1 + number // 60_000}.{number // 250 % 240}.{1 + number % 250}"
    try:
        async with asyncio.timeout(20):
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    except (OSError, TimeoutError):
        return None
    writer.write(b"GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    return writer


async def _send_messages(cluster: SiegedCluster, options: SiegeOptions, report: SectionReport) -> None:
    chance = random.Random(options.seed)
    maker = MessageMaker(chance)
    doors = [(cluster.owner_address, door) for door in OWNER_DOORS]
    doors += [(cluster.inference_address, door) for door in INFERENCE_DOORS]
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        for number in range(options.messages):
            if options.time_is_up():
                return
            if number % len(doors) == 0:
                state = await cluster.state()
                maker.names = ("siege", *([state.run] if state is not None and state.run else []))
            address, door = doors[number % len(doors)]
            report.tried += 1
            report.count("messages")
            problem = await _send(cluster, client, address, door, maker, chance)
            if problem:
                report.add_problem(f"{door.method} {door.path}: {problem}.")
            else:
                report.held += 1
            if door.upsets:
                await cluster.calm()
            if (number + 1) % 500 == 0:
                say(f"Message {number + 1} of {options.messages}.")
    try:
        await cluster.until_ready()
    except CannotSiegeError as error:
        report.add_problem(f"After the messages: {error}")


async def _send(
    cluster: SiegedCluster,
    client: httpx.AsyncClient,
    address: str,
    door: Door,
    maker: MessageMaker,
    chance: random.Random,
) -> str:
    """Send a message to a door; returns what was wrong with the reply, or nothing."""
    headers = {"Content-Type": "application/json"}
    if door.opener and chance.random() < 0.8:
        headers |= opening_headers(cluster.paths, door.opener, await cluster.desk_session())
    path = maker.path(door.path)
    content = maker.body(door.message) if door.method != "GET" else None
    received = b""
    try:
        async with client.stream(
            door.method, address + path, content=content, headers=headers, timeout=WAIT_SECONDS if door.waits else 30
        ) as response:
            # What streams is read for a moment, and left: that is a visitor who goes away.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3):
                    async for part in response.aiter_raw():
                        received += part
                        if len(received) > READ_BYTES:
                            break
    except httpx.RemoteProtocolError as error:
        return f"the connection broke off ({type(error).__name__})"
    except httpx.TimeoutException:
        return "no answer within 30 s" if not door.waits else ""
    except httpx.HTTPError as error:
        return f"no answer ({type(error).__name__})"
    except httpx.InvalidURL:
        return ""
    if INSIDES.search(received) and "assets" not in door.path:
        return "a program's insides are in the reply"
    if response.status_code >= 500 and response.status_code not in AWAY:
        return f"status {response.status_code}"
    return ""
