"""The owner under many and slow connections, where it may open 1,024 files: who comes with a request is answered."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.access.certificates import signed_by_itself
from tests.owner.owner_cluster import OwnerCluster, owner_command, started_cluster
from tests.waiting import until

pytestmark = pytest.mark.process

FEW_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1024))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes the command, which may open 256 files, and allow itself 1,024: a common default."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    cluster = OwnerCluster(folder, **{"general.max_connections_per_address": 300})
    try:
        cluster.start_inference()
        cluster.start_owner(command=[sys.executable, "-c", FEW_FILES, *owner_command(cluster.config)])
        cluster.begin()
        yield cluster
    finally:
        cluster.stop()


def connected(cluster: OwnerCluster, address: str, sent: bytes = b"") -> socket.socket:
    host, port = cluster.settings.general.owner_host, cluster.settings.general.owner_port
    connection = socket.create_connection((host, port), source_address=(address, 0))
    connection.sendall(sent)
    return connection


def closed(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_half_open_connections_keep_nobody_out(cluster: OwnerCluster) -> None:
    assert cluster.owner_process is not None
    process = psutil.Process(cluster.owner_process.pid)
    with ExitStack() as stack:
        attackers = []
        for number in range(1100):  # from four addresses, which may have 300 each: more than there is room for
            attacker = connected(cluster, f"127.0.0.{2 + number % 4}", b"GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            attackers.append(stack.enter_context(attacker))
        assert process.num_fds() < 1024
        assert cluster.owner.get("/healthz").status_code == 200
        assert cluster.chat("hallo")[-1][0] == "end"
        # One address alone is not let in any further.
        with ExitStack() as others:
            crowd = [others.enter_context(connected(cluster, "127.0.0.9")) for _ in range(310)]
            until(lambda: sum(map(closed, crowd[-10:])) == 10, "the last ones to be sent away")
            assert b"503" in others.enter_context(connected(cluster, "127.0.0.9")).recv(100)
        until(lambda: all(map(closed, attackers[-20:])), "the half-open ones to be cut")
    log = cluster.log.read_text()
    assert "Too many open files" not in log and "Traceback" not in log


def test_connections_that_never_shake_hands_keep_nobody_out(tmp_path: Path) -> None:
    tls = signed_by_itself(tmp_path)
    (tmp_path / "cluster").mkdir()
    limits = {"general.max_connections_per_address": 50, "general.max_connections": 100}
    with started_cluster(tmp_path / "cluster", **tls.settings, **limits) as cluster, ExitStack() as stack:
        assert cluster.owner_process is not None
        process = psutil.Process(cluster.owner_process.pid)
        before = process.num_fds()
        # From one address no more than it may have, and where there is room for no more, the oldest give way.
        crowd = [stack.enter_context(connected(cluster, "127.0.0.9")) for _ in range(80)]
        until(lambda: sum(map(closed, crowd[50:])) == 30, "those beyond an address's number to be closed")
        others = [stack.enter_context(connected(cluster, f"127.0.0.{10 + number // 40}")) for number in range(120)]
        assert cluster.owner.get("/healthz").status_code == 200
        assert process.num_fds() - before <= 110
        until(lambda: all(map(closed, [*crowd, *others])), "the silent ones to be cut")
        assert cluster.owner.get("/healthz").status_code == 200
        plain = stack.enter_context(connected(cluster, "127.0.0.9", b"GET / HTTP/1.1\r\n\r\n"))
        until(lambda: closed(plain), "whoever talks without TLS to be cut")
        cluster.begin()
        assert cluster.chat("hallo")[-1][0] == "end"
        until(lambda: process.num_fds() < before + 20, "every connection to be closed")
        log = cluster.log.read_text()
        assert "Traceback" not in log and "never retrieved" not in log


def test_large_headers_and_slow_bodies_are_refused(cluster: OwnerCluster) -> None:
    with connected(cluster, "127.0.0.1", b"GET / HTTP/1.1\r\nX-A: " + b"a" * 100_000) as connection:
        assert b" 431 " in connection.recv(200)
    large = cluster.owner.post("/chat", content=b"x" * 1_000_000)
    assert large.status_code == 413
    head = b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n{"
    with connected(cluster, "127.0.0.1", head) as connection:
        connection.settimeout(120)
        assert b" 408 " in connection.recv(200)


def test_requests_that_are_broken_off_log_no_traceback(cluster: OwnerCluster) -> None:
    before = cluster.log.read_text()
    for _ in range(5):
        with connected(cluster, "127.0.0.1", b"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{"):
            pass
    assert cluster.chat("und weiter")[-1][0] == "end"  # by then they have been read, and noticed
    assert "Traceback" not in cluster.log.read_text()[len(before) :]


def test_an_event_streams_id_of_any_length_is_read(cluster: OwnerCluster) -> None:
    with httpx.Client(base_url=cluster.owner.base_url) as http:
        with http.stream("GET", "/events", params={"station": "a"}) as reply:
            first = next(line for line in reply.iter_lines() if line.startswith("id: "))
        process_id = first.removeprefix("id: ").partition("-")[0]
        with http.stream(
            "GET", "/events", params={"station": "a"}, headers={"Last-Event-ID": f"{process_id}-{'9' * 5000}"}
        ) as reply:
            assert reply.status_code == 200
            assert "event: state" in next(reply.iter_text())
    assert "Traceback" not in cluster.log.read_text()


def test_event_streams_leave_no_memory_behind(cluster: OwnerCluster) -> None:
    assert cluster.owner_process is not None
    process = psutil.Process(cluster.owner_process.pid)

    def streams() -> None:
        with ExitStack() as stack:
            request = b"GET /events?station=a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            opened = [stack.enter_context(connected(cluster, f"127.0.0.{2 + n % 2}", request)) for n in range(400)]
            for stream in opened:
                assert b"200 OK" in stream.recv(2000)
            cluster.chat("hallo")
        until(lambda: process.num_fds() < 60, "the streams to be closed")

    streams()
    before = process.memory_info().rss
    for _ in range(4):
        streams()
    assert process.memory_info().rss - before < 12 * 2**20
