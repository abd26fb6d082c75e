"""OSC messages as an independent program receives them: liblo's `oscdump`."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wmkml.protocol import osc
from wmkml.protocol.osc import MAX_STRING_BYTES, TABLE, OscSender, cut, encode

SAMPLES: dict[str, str | int | float] = {"s": "Ein Wort wie Müll 🜁 über «Bord»", "i": 7, "f": 0.25}


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bound(port: int) -> bool:
    """Whether a process listens on this UDP port, read from /proc, since a trial bind would take the port."""
    tables = [Path("/proc/net/udp"), Path("/proc/net/udp6")]
    return any(f":{port:04X} " in table.read_text() for table in tables if table.exists())


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


@pytest.fixture
def oscdump() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    port = free_udp_port()
    process = subprocess.Popen(
        ["stdbuf", "-oL", "oscdump", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not bound(port):
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.02)
    yield port, process
    process.kill()
    process.wait()


@pytest.mark.process
def test_every_address_of_the_table_reaches_a_foreign_receiver_with_its_types(
    oscdump: tuple[int, subprocess.Popen[str]],
) -> None:
    port, process = oscdump
    sender = OscSender([("127.0.0.1", port)])
    received: dict[str, tuple[str, str]] = {}
    for row in TABLE.values():
        sender.send(row.address, *(SAMPLES[tag] for tag in row.types))
    assert process.stdout is not None
    while len(received) < len(TABLE):
        line = process.stdout.readline()
        match = re.match(r"\S+ (\S+) (\w+) (.*)", line)
        assert match, f"oscdump said {line!r}"
        received[match[1]] = match[2], match[3]
    sender.close()
    assert {address: types for address, (types, _) in received.items()} == {r.address: r.types for r in TABLE.values()}
    assert str(SAMPLES["s"]) in received["/prompt"][1]
    assert received["/iteration"][1].strip() == "7"


def test_a_long_text_is_cut_at_a_character_and_the_datagram_stays_small() -> None:
    datagram = encode("/token", "ü🜁" * 5000, 0.5)
    assert len(datagram) < 8192
    text = cut("ü🜁" * 5000)
    assert len(text.encode()) <= MAX_STRING_BYTES
    assert ("ü🜁" * 5000).startswith(text)


def test_a_nul_and_a_lone_surrogate_do_no_harm() -> None:
    assert cut("a\0b") == "ab"
    assert b"a?b" in encode("/prompt", "a\ud800b")


@pytest.mark.parametrize("values", [(), ("a", "b"), (3,)])
def test_what_does_not_fit_the_table_is_a_bug_and_raises(values: tuple[str | int, ...]) -> None:
    with pytest.raises(ValueError, match="/prompt takes"):
        encode("/prompt", *values)
    with pytest.raises(KeyError):
        encode("/nowhere", 1)


@pytest.mark.process
def test_a_host_that_cannot_be_reached_is_told_of_once_and_disturbs_nobody(
    oscdump: tuple[int, subprocess.Popen[str]], caplog: pytest.LogCaptureFixture
) -> None:
    port, process = oscdump
    sender = OscSender([("no-such-host.invalid", 9), ("127.0.0.1", port)])
    until(lambda: any("no-such-host" in record.message for record in caplog.records))
    sender.send("/iteration", 1)
    sender.send("/iteration", 2)
    assert process.stdout is not None
    assert process.stdout.readline().split()[1:] == ["/iteration", "i", "1"]
    assert process.stdout.readline().split()[1:] == ["/iteration", "i", "2"]
    assert len(caplog.records) == 1
    sender.close()


@pytest.mark.process
def test_a_name_server_that_does_not_answer_holds_nobody_up(
    oscdump: tuple[int, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, process = oscdump
    lookup_begun, answer, look_up = threading.Event(), threading.Event(), socket.getaddrinfo

    def slow(host: str, *more: Any, **named: Any) -> Any:
        if host == "touchdesigner" and not named.get("flags"):
            lookup_begun.set()
            answer.wait()
        return look_up("127.0.0.1" if host == "touchdesigner" and lookup_begun.is_set() else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    sender = OscSender([("touchdesigner", port)])
    lookup_begun.wait()
    sender.send("/iteration", 1)  # returns at once; the message is dropped
    answer.set()
    until(lambda: bool(sender._addresses))
    sender.send("/iteration", 2)
    assert process.stdout is not None
    assert process.stdout.readline().split()[1:] == ["/iteration", "i", "2"]
    sender.close()


@pytest.mark.process
def test_a_name_is_looked_up_again_until_it_is_known(
    oscdump: tuple[int, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port, process = oscdump
    resolvable, look_up = threading.Event(), socket.getaddrinfo

    def later(host: str, *more: Any, **named: Any) -> Any:
        return look_up("127.0.0.1" if resolvable.is_set() else "no-such-host.invalid", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", later)
    monkeypatch.setattr(osc, "LOOKUP_RETRY_SECONDS", 0.01)
    sender = OscSender([("touchdesigner", port)])
    until(lambda: bool(caplog.records))
    resolvable.set()
    until(lambda: bool(sender._addresses))
    sender.send("/iteration", 3)
    assert process.stdout is not None
    assert process.stdout.readline().split()[1:] == ["/iteration", "i", "3"]
    assert len(caplog.records) == 1
    sender.close()


def test_without_a_host_a_message_is_looked_at_and_not_built() -> None:
    sender = OscSender([])
    sender.send("/iteration", 3)
    with pytest.raises(ValueError, match="/iteration takes"):
        sender.send("/iteration", "3")
    with pytest.raises(KeyError):
        sender.send("/nowhere", 1)
