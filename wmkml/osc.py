"""OSC for music and visuals: the table of addresses, and a sender that never disturbs whoever calls it.

`TABLE` is the one source: the docs are generated from it, and a message that does not fit it is a bug and raises.
Addresses, types and order of the first eight are the original installation's.  Knows nothing of who sends when.
Datagrams stay under 8,192 bytes: strings lose what is too long, at a character, and NULs.
Format: the Open Sound Control 1.0 specification; encoding by python-osc.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pythonosc.osc_message_builder import OscMessageBuilder

log = logging.getLogger(__name__)

MAX_STRING_BYTES = 8000
"""Leaves room under 8,192 bytes for the address, the type tags, padding and a second argument."""

Sender = Literal["owner", "inference"]


@dataclass(frozen=True)
class Address:
    """One row of the table: OSC type tags `types` (s string, i int32, f float32), who sends it, and what it means."""

    address: str
    types: str
    sender: Sender
    original: bool
    meaning: str


TABLE: dict[str, Address] = {
    row.address: row
    for row in (
        Address("/prompt", "s", "inference", True, "A visitor's prompt, before its answer is generated."),
        Address("/response", "s", "inference", True, "The whole answer, cut at the end of a sentence."),
        Address(
            "/iteration",
            "i",
            "inference",
            True,
            "After each answer: the iteration that gave it, plus one (0: base model).",
        ),
        Address("/user_activity", "s", "owner", True, "`typing` or `stopped`."),
        Address("/wait_for_language", "i", "owner", True, "1: a language is awaited; 0: a run has begun."),
        Address("/elapsed_time", "f", "owner", True, "Seconds since the run began, at each round's start."),
        Address("/run_end", "i", "owner", True, "1: the run is over."),
        Address("/request_restart", "i", "owner", True, "1: the language is reborn; start over."),
        Address("/token", "sf", "inference", False, "One token of a visitor's answer, and its probability."),
        Address(
            "/entropy",
            "f",
            "inference",
            False,
            "Entropy of that token's distribution, in nats (top 20 and a rest bucket).",
        ),
        Address("/swap", "i", "inference", False, "A new adapter answers: its iteration, plus one."),
        Address("/learning_rate", "f", "owner", False, "Learning rate of the round that begins."),
        Address("/loss", "if", "owner", False, "A training step of the round under way, and its loss."),
        Address("/round/progress", "f", "owner", False, "The round under way, from 0 to 1."),
        Address(
            "/collapse/distinct_2",
            "f",
            "owner",
            False,
            "Share of distinct word pairs in the newest answers, at each round's start.",
        ),
        Address(
            "/collapse/repetition",
            "f",
            "owner",
            False,
            "Share of words that repeat the word before, in the newest answers.",
        ),
        Address("/collapse/entropy", "f", "owner", False, "Mean token entropy of the newest answers, in nats."),
        Address("/time_left", "f", "owner", False, "Seconds until the run ends, with each heartbeat."),
        Address("/heartbeat", "i", "owner", False, "Counts up while the owner lives."),
    )
}


def cut(text: str, limit: int = MAX_STRING_BYTES) -> str:
    """The text without NULs, cut at a character so that it has at most `limit` bytes in UTF-8."""
    raw = text.replace("\0", "").encode("utf-8", errors="replace")
    return raw.decode() if len(raw) <= limit else raw[:limit].decode("utf-8", errors="ignore")


def encode(address: str, *values: str | int | float) -> bytes:
    """One OSC datagram.

    Raises:
        KeyError: the address is not in TABLE.
        ValueError: the values do not fit its types.
    """
    types = TABLE[address].types
    if len(values) != len(types):
        raise ValueError(f"{address} takes {len(types)} values ({types}), not {len(values)}")
    builder = OscMessageBuilder(address=address)
    for tag, value in zip(types, values, strict=True):
        match tag, value:
            case "s", str():
                builder.add_arg(cut(value), "s")
            case "i", int():
                builder.add_arg(max(-(2**31), min(2**31 - 1, value)), "i")
            case "f", int() | float():
                builder.add_arg(float(value), "f")
            case _:
                raise ValueError(f"{address} takes {types}; {type(value).__name__} is no {tag}")
    datagram: bytes = builder.build().dgram
    return datagram


class OscSender:
    """Sends to every configured host over UDP.  A host that cannot be reached is told of once, and tried again each time."""

    def __init__(self, targets: Sequence[tuple[str, int]]) -> None:
        self._targets = list(targets)
        self._silent: set[tuple[str, int]] = set()
        self._sockets: dict[int, socket.socket] = {}
        self._resolved: dict[tuple[str, int], tuple[int, tuple[str, int]]] = {}

    def send(self, address: str, *values: str | int | float) -> None:
        """Send one message to every host; returns at once, raises only for what does not fit TABLE."""
        datagram = encode(address, *values)
        for target in self._targets:
            try:
                family, place = self._resolve(target)
                self._socket(family).sendto(datagram, place)
            except OSError as error:
                if target not in self._silent:
                    self._silent.add(target)
                    log.warning("OSC host %s:%d cannot be reached (%s); trying on.", *target, error.strerror)
            else:
                self._silent.discard(target)

    def close(self) -> None:
        """Close the sockets."""
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()

    def _resolve(self, target: tuple[str, int]) -> tuple[int, tuple[str, int]]:
        # Once a host: a name server that is slow or gone must not stall a stream with every token.
        if target not in self._resolved:
            family, _, _, _, place = socket.getaddrinfo(*target, type=socket.SOCK_DGRAM)[0]
            self._resolved[target] = family, (str(place[0]), int(place[1]))
        return self._resolved[target]

    def _socket(self, family: int) -> socket.socket:
        if family not in self._sockets:
            self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
            self._sockets[family].setblocking(False)
        return self._sockets[family]
