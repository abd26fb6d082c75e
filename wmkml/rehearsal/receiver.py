"""An OSC host for the rehearsal: counts every message by address and checks it against the address table.

Datagrams are parsed with python-osc.  The type tags are read here, because patches rely on them and python-osc does not
expose them.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from pythonosc.osc_message import OscMessage, ParseError

from wmkml.measures.registry import shown_in
from wmkml.protocol.osc import TABLE


class OscReceiver(asyncio.DatagramProtocol):
    """Listens on one UDP port from `listen` to `close`.

    Attributes:
        counts: messages received, by address.
        problems: one sentence for each kind of message that does not fit the table; none quotes an argument.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def listen(cls, host: str, port: int) -> OscReceiver:
        """A receiver bound to this address.

        Raises:
            OSError: the address is not this machine's, or the port is taken.
        """
        loop = asyncio.get_running_loop()
        transport, receiver = await loop.create_datagram_endpoint(cls, local_addr=(host, port))
        receiver._transport = transport
        return receiver

    def close(self) -> None:
        """Free the port."""
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Count and check one message; called by the event loop."""
        try:
            message = OscMessage(data)
        except ParseError:
            self._add_problem("An OSC datagram could not be read.")
            return
        self.counts[message.address] += 1
        row = TABLE.get(message.address)
        if row is None:
            self._add_problem(f"OSC {message.address} is not in the address table.")
        elif (tags := type_tags(data)) != row.types:
            self._add_problem(f"OSC {message.address} came with the types {tags!r}; the table says {row.types!r}.")

    def missing(self) -> list[str]:
        """The addresses of `expected_addresses` that were never received."""
        return [address for address in expected_addresses() if not self.counts[address]]

    def _add_problem(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)


def expected_addresses() -> list[str]:
    """The table's addresses that a whole run sends, however short: a panel may not be answered before the next iteration is."""
    panel = {f"/collapse/{measure.name}" for measure in shown_in("osc") if measure.windows["osc"] == "panel_answers"}
    return [address for address in TABLE if address not in panel]


def type_tags(datagram: bytes) -> str:
    """The type tags of a datagram, without the comma (OSC 1.0: after the address, padded to four bytes)."""
    after_address = datagram.index(b"\0") // 4 * 4 + 4
    return datagram[after_address + 1 : datagram.index(b"\0", after_address)].decode("ascii")
