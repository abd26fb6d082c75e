"""OSC for music and visuals: the table of addresses, and a sender that never blocks its caller.

`TABLE` is the only source: the docs are generated from it, and a message that does not fit it is a bug and raises.
Addresses, types and order of the first eight are the original installation's.
Datagrams stay under 8,192 bytes: strings are cut at a character, and NULs are removed.
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

from wmkml.measures.registry import WINDOWS, shown_in
from wmkml.protocol.inference import OscSent

log = logging.getLogger(__name__)

MAX_STRING_BYTES = 8000
"""Most bytes of a string; leaves room under 8,192 for the address, the type tags, padding and a second argument."""

LOOKUP_RETRY_SECONDS = 60.0
"""Seconds between two attempts to resolve a host name."""

PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {"s": str, "i": int, "f": (int, float)}
"""The Python types that each type tag accepts."""

Sender = Literal["owner", "inference"]


@dataclass(frozen=True)
class Address:
    """One row of the table; `types`: OSC type tags (s string, i int32, f float32); `original`: the original's too."""

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
        *(
            Address(
                f"/collapse/{measure.name}",
                "f",
                "owner",
                False,
                f"{measure.meaning[0].upper()}{measure.meaning[1:]}; {WINDOWS[measure.windows['osc']]}.",
            )
            for measure in shown_in("osc")
        ),
        Address(
            "/open",
            "i",
            "owner",
            False,
            "1: visitors may talk; 0: it is closed. At the owner's start and at each change.",
        ),
        Address("/panic", "i", "owner", False, "1: the operator has stopped everything, be silent; 0: it is over."),
        Address("/time_left", "f", "owner", False, "Seconds until the run ends, with each heartbeat."),
        Address("/heartbeat", "i", "owner", False, "Counts up while the owner lives."),
        Address("/test", "i", "owner", False, "The operator presses the desk's test button; counts up."),
    )
}


WORD_ADDRESSES = ("/prompt", "/response", "/token")
"""Addresses that carry visitors' words or answers to them; their values are never recorded."""


@dataclass(frozen=True)
class LastMessage:
    """The last message to an address: when (seconds since 1970), and its values (none for WORD_ADDRESSES)."""

    at: float
    values: tuple[str | int | float, ...]


def cut(text: str, limit: int = MAX_STRING_BYTES) -> str:
    """The text without NULs, cut at a character to at most `limit` bytes in UTF-8."""
    raw = text.replace("\0", "").encode("utf-8", errors="replace")
    return raw.decode() if len(raw) <= limit else raw[:limit].decode("utf-8", errors="ignore")


def check_message(address: str, *values: str | int | float) -> None:
    """Check that a message fits TABLE.

    Raises:
        KeyError: the address is not in TABLE.
        ValueError: the values do not fit its types.
    """
    types = TABLE[address].types
    if len(values) != len(types):
        raise ValueError(f"{address} takes {len(types)} values ({types}), not {len(values)}")
    for tag, value in zip(types, values, strict=True):
        if not isinstance(value, PYTHON_TYPES[tag]):
            raise ValueError(f"{address} takes {types}; {type(value).__name__} is no {tag}")


def encode(address: str, *values: str | int | float) -> bytes:
    """Encode a message as one OSC datagram.  Raises as `check_message`."""
    check_message(address, *values)
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


_SocketAddress = tuple[int, tuple[str, int]]
"""The address family, and the numeric address with port."""


class OscSender:
    """Sends to every configured host over UDP without ever blocking.

    Host names are resolved in a thread; messages sent before that are lost for the host.  A host that cannot be reached
    is logged once, and further messages are still sent to it.
    """

    def __init__(self, targets: Sequence[tuple[str, int]]) -> None:
        self._unreachable: set[tuple[str, int]] = set()
        self._sockets: dict[int, socket.socket] = {}
        self._addresses: dict[tuple[str, int], _SocketAddress] = {}
        self._closed = threading.Event()
        self.targets = tuple(targets)
        self.last: dict[str, LastMessage] = {}
        """The last message to each address."""
        names = []
        for target in targets:
            try:
                self._addresses[target] = _resolve(target, socket.AI_NUMERICHOST)
            except OSError:
                names.append(target)
        if names:
            threading.Thread(target=self._resolve_names, args=(names,), name="osc-names", daemon=True).start()

    def send(self, address: str, *values: str | int | float) -> None:
        """Send one message to every host; returns at once, and raises only if the message does not fit TABLE."""
        if not self._addresses:
            check_message(address, *values)
            return
        datagram = encode(address, *values)
        self.last[address] = LastMessage(time.time(), () if address in WORD_ADDRESSES else values)
        for target, (family, socket_address) in list(self._addresses.items()):
            try:
                self._socket(family).sendto(datagram, socket_address)
            except OSError as error:
                self._mark_unreachable(target, error)
            else:
                self._unreachable.discard(target)

    def reaches(self, target: tuple[str, int]) -> bool:
        """Whether the last message could be sent to this host; UDP does not tell whether anything listens there."""
        return target in self._addresses and target not in self._unreachable

    def close(self) -> None:
        """Close the sockets."""
        self._closed.set()
        for open_socket in self._sockets.values():
            open_socket.close()
        self._sockets.clear()

    def _resolve_names(self, names: list[tuple[str, int]]) -> None:
        """Resolve host names until all are resolved or the sender is closed; runs in a thread."""
        while names:
            for target in list(names):
                try:
                    self._addresses[target] = _resolve(target)
                except OSError as error:
                    self._mark_unreachable(target, error)
                else:
                    names.remove(target)
                    self._unreachable.discard(target)
            if names and self._closed.wait(LOOKUP_RETRY_SECONDS):
                return

    def _mark_unreachable(self, target: tuple[str, int], error: OSError) -> None:
        if target not in self._unreachable:
            self._unreachable.add(target)
            log.warning("OSC host %s:%d cannot be reached (%s); trying on.", *target, error.strerror)

    def _socket(self, family: int) -> socket.socket:
        if family not in self._sockets:
            self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
            self._sockets[family].setblocking(False)
        return self._sockets[family]


def last_messages(sender: OscSender) -> list[OscSent]:
    """The last message to each address, as a message for the desk."""
    return [
        OscSent(address=address, at=message.at, values=list(message.values)) for address, message in sender.last.items()
    ]


def _resolve(target: tuple[str, int], flags: int = 0) -> _SocketAddress:
    family, _, _, _, address = socket.getaddrinfo(*target, type=socket.SOCK_DGRAM, flags=flags)[0]
    return family, (str(address[0]), int(address[1]))
