"""OSC for music and visuals: the table of addresses, and a sender that never disturbs whoever calls it.

`TABLE` is the one source: the docs are generated from it, and a message that does not fit it is a bug and raises.
Addresses, types and order of the first eight are the original installation's.  Knows nothing of who sends when.
Datagrams stay under 8,192 bytes: strings lose what is too long, at a character, and NULs.
Format: the Open Sound Control 1.0 specification; encoding by python-osc.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pythonosc.osc_message_builder import OscMessageBuilder

from wmkml.wire import OscSent

log = logging.getLogger(__name__)

MAX_STRING_BYTES = 8000
"""Leaves room under 8,192 bytes for the address, the type tags, padding and a second argument."""

LOOK_UP_SECONDS = 60.0
"""A name that is not known is looked up again after so long."""

FITTING: dict[str, type | tuple[type, ...]] = {"s": str, "i": int, "f": (int, float)}
"""What each type tag takes."""

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
        Address("/test", "i", "owner", False, "The operator presses the desk's test button; counts up."),
    )
}


WORDS = ("/prompt", "/response", "/token")
"""What holds visitors' words, or answers to them: never noted down."""


@dataclass(frozen=True)
class Sent:
    """The last message to an address: when (seconds since 1970), and its values, which are left out where they are words."""

    at: float
    values: tuple[str | int | float, ...]


def cut(text: str, limit: int = MAX_STRING_BYTES) -> str:
    """The text without NULs, cut at a character so that it has at most `limit` bytes in UTF-8."""
    raw = text.replace("\0", "").encode("utf-8", errors="replace")
    return raw.decode() if len(raw) <= limit else raw[:limit].decode("utf-8", errors="ignore")


def check(address: str, *values: str | int | float) -> None:
    """See that a message fits TABLE.

    Raises:
        KeyError: the address is not in TABLE.
        ValueError: the values do not fit its types.
    """
    types = TABLE[address].types
    if len(values) != len(types):
        raise ValueError(f"{address} takes {len(types)} values ({types}), not {len(values)}")
    for tag, value in zip(types, values, strict=True):
        if not isinstance(value, FITTING[tag]):
            raise ValueError(f"{address} takes {types}; {type(value).__name__} is no {tag}")


def encode(address: str, *values: str | int | float) -> bytes:
    """One OSC datagram.  Raises as `check`."""
    check(address, *values)
    builder = OscMessageBuilder(address=address)
    for tag, value in zip(TABLE[address].types, values, strict=True):
        match tag, value:
            case "s", str():
                builder.add_arg(cut(value), "s")
            case "i", int():
                builder.add_arg(max(-(2**31), min(2**31 - 1, value)), "i")
            case _:
                builder.add_arg(float(value), "f")
    datagram: bytes = builder.build().dgram
    return datagram


_Place = tuple[int, tuple[str, int]]


class OscSender:
    """Sends to every configured host over UDP, and waits for nothing, not even for a name server.

    Addresses are known at once; names are looked up in a thread, and what is sent before one is known is lost to its
    host.  A host that cannot be reached is told of once, and tried again.
    """

    def __init__(self, targets: Sequence[tuple[str, int]]) -> None:
        self._silent: set[tuple[str, int]] = set()
        self._sockets: dict[int, socket.socket] = {}
        self._places: dict[tuple[str, int], _Place] = {}
        self._closed = threading.Event()
        self.targets = tuple(targets)
        self.last: dict[str, Sent] = {}
        """The last message to each address."""
        names = []
        for target in targets:
            try:
                self._places[target] = _look_up(target, socket.AI_NUMERICHOST)
            except OSError:
                names.append(target)
        if names:
            threading.Thread(target=self._learn, args=(names,), name="osc-names", daemon=True).start()

    def send(self, address: str, *values: str | int | float) -> None:
        """Send one message to every host; returns at once, raises only for what does not fit TABLE."""
        if not self._places:
            check(address, *values)
            return
        datagram = encode(address, *values)
        self.last[address] = Sent(time.time(), () if address in WORDS else values)
        for target, (family, place) in list(self._places.items()):
            try:
                self._socket(family).sendto(datagram, place)
            except OSError as error:
                self._cannot(target, error)
            else:
                self._silent.discard(target)

    def reaches(self, target: tuple[str, int]) -> bool:
        """Whether the last message could be sent to this host; UDP does not tell whether anybody listens there."""
        return target in self._places and target not in self._silent

    def close(self) -> None:
        """Close the sockets."""
        self._closed.set()
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()

    def _learn(self, names: list[tuple[str, int]]) -> None:
        while names:
            for target in list(names):
                try:
                    self._places[target] = _look_up(target)
                except OSError as error:
                    self._cannot(target, error)
                else:
                    names.remove(target)
                    self._silent.discard(target)
            if names and self._closed.wait(LOOK_UP_SECONDS):
                return

    def _cannot(self, target: tuple[str, int], error: OSError) -> None:
        if target not in self._silent:
            self._silent.add(target)
            log.warning("OSC host %s:%d cannot be reached (%s); trying on.", *target, error.strerror)

    def _socket(self, family: int) -> socket.socket:
        if family not in self._sockets:
            self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
            self._sockets[family].setblocking(False)
        return self._sockets[family]


def noted(sender: OscSender) -> list[OscSent]:
    """The last message to each address, as it may be told."""
    return [OscSent(address=one, at=sent.at, values=list(sent.values)) for one, sent in sender.last.items()]


def _look_up(target: tuple[str, int], flags: int = 0) -> _Place:
    family, _, _, _, place = socket.getaddrinfo(*target, type=socket.SOCK_DGRAM, flags=flags)[0]
    return family, (str(place[0]), int(place[1]))
