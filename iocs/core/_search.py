"""Searches and beacons of the Channel Access server, by UDP."""

import asyncio
import itertools
import logging
import os
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labioc.iocs.core._addresses import EVERYWHERE, addresses_from, broadcasts_of
from labioc.iocs.core._messages import CA_VERSION, HEADER, SELF, Command
from labioc.iocs.core._sockets import beacon_socket, number_of, port_of, search_socket

if TYPE_CHECKING:
    from labioc.iocs.core.server import Serving

log = logging.getLogger("labioc.ca")

MAX_DATAGRAM = 1024
"""Bytes; libca takes no longer answers."""
FIRST_BEACON_PERIOD = 0.02
_VERSION = HEADER.pack(Command.VERSION, 0, 0, CA_VERSION, 0, 0)
_ANSWER_BYTES = HEADER.size + 8
_ANSWERS_AT_ONCE = (MAX_DATAGRAM - len(_VERSION)) // _ANSWER_BYTES


class Malformed(ValueError):
    """Raised for a datagram that isn't one of Channel Access."""


class Searches:
    """The sockets on which one server hears searches, and from which it sends beacons."""

    def __init__(self, server: "Serving", interfaces: Sequence[str], port: int) -> None:
        """Raises ValueError if an environment variable can't be right."""
        self._server = server
        self._interfaces = interfaces
        self._port = port
        self._beacon_port = port_of("EPICS_CAS_BEACON_PORT", "EPICS_CA_REPEATER_PORT", default=5065)
        self._beacon_period = number_of("EPICS_CAS_BEACON_PERIOD", "EPICS_CA_BEACON_PERIOD", default=15.0)
        self._ignored: frozenset[str] = frozenset()
        self._listed: list[tuple[str, int]] = []
        self._transports: list[asyncio.DatagramTransport] = []
        self._beacon_from: dict[str, socket.socket] = {}
        self._unreachable: set[tuple[str, int]] = set()

    async def open(self) -> None:
        """Hear searches. Raises OSError, and ValueError for an environment variable that can't be right."""
        # The port of a sender to ignore means nothing, as in the C IOC.
        ignored = await addresses_from("EPICS_CAS_IGNORE_ADDR_LIST", self._port)
        self._ignored = frozenset(host for host, _ in ignored)
        self._listed = await addresses_from("EPICS_CAS_BEACON_ADDR_LIST", self._beacon_port)
        heard: set[str] = set()
        for interface in self._interfaces:
            unicast = await self._open_one(interface, None)
            # Not from where searches are heard: an error of sending would end the hearing.
            self._beacon_from[interface] = beacon_socket(interface)
            if interface != EVERYWHERE:
                # What is sent to the broadcast address is heard by a socket that is bound to it only.
                for broadcast in set(broadcasts_of(interface)) - heard:
                    heard.add(broadcast)
                    await self._open_one(broadcast, unicast)

    async def _open_one(
        self, address: str, answer_from: asyncio.DatagramTransport | None
    ) -> asyncio.DatagramTransport:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Hearing(self, answer_from), sock=search_socket(address, self._port)
        )
        self._transports.append(transport)
        return transport

    def close(self) -> None:
        """Hear and send no more."""
        for transport in self._transports:
            transport.close()
        for sock in self._beacon_from.values():
            sock.close()

    def hear(self, datagram: bytes, address: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        """Answer a datagram of searches."""
        if address[0] in self._ignored:
            return
        try:
            for answer in self._answers(datagram):
                transport.sendto(answer, address)
        except Malformed as malformed:
            self._server.statistics.malformed += 1
            self._server.complaints.add(
                address[0], "datagram", f"a datagram from {address[0]}:{address[1]}: {malformed}"
            )

    def _answers(self, datagram: bytes) -> list[bytes]:
        found = []
        at = 0
        while at < len(datagram):
            if len(datagram) - at < HEADER.size:
                raise Malformed(f"{len(datagram) - at} bytes are no request")
            command, size, _, _, cid, _ = HEADER.unpack_from(datagram, at)
            at += HEADER.size
            name = datagram[at : at + size].partition(b"\0")[0].decode("latin-1")
            at += size
            if at > len(datagram):
                raise Malformed(f"request {command} has no {size} bytes")
            if command == Command.SEARCH:
                if self._server.has(name):
                    # The server's address is where this datagram comes from.
                    answer = HEADER.pack(Command.SEARCH, 8, self._server.port, 0, SELF, cid)
                    found.append(answer + struct.pack(">H6x", CA_VERSION))
            elif command != Command.VERSION:
                raise Malformed(f"request {command} is none for UDP")
        return [_VERSION + b"".join(some) for some in _in_pieces(found)]

    async def send_beacons(self) -> None:
        """Tell that we are here, at first often and then every EPICS_CAS_BEACON_PERIOD seconds."""
        period = min(FIRST_BEACON_PERIOD, self._beacon_period)
        for count in itertools.count():
            beacon = HEADER.pack(Command.BEACON, 0, CA_VERSION, self._server.port, count & 0xFFFFFFFF, 0)
            # Each time anew: a network may come up later.
            for sock, target in self.beacon_targets():
                self._send_beacon(sock, beacon, target)
            await asyncio.sleep(period)
            period = min(2 * period, self._beacon_period)

    def _send_beacon(self, sock: socket.socket, beacon: bytes, target: tuple[str, int]) -> None:
        try:
            sock.sendto(beacon, target)
        except OSError as error:
            if target not in self._unreachable:
                self._unreachable.add(target)
                log.warning("no beacons to %s port %d: %s", *target, error.strerror)
        else:
            self._unreachable.discard(target)

    def beacon_targets(self) -> list[tuple[socket.socket, tuple[str, int]]]:
        """The addresses to tell, by the socket that tells it."""
        auto = os.environ.get("EPICS_CAS_AUTO_BEACON_ADDR_LIST", "YES").upper() != "NO"
        targets = []
        for interface, sock in self._beacon_from.items():
            wanted = set(self._listed)
            if auto:
                wanted |= {(address, self._beacon_port) for address in broadcasts_of(interface)}
            # Who serves on loopback only must not be heard elsewhere.
            targets += [
                (sock, target)
                for target in sorted(wanted)
                if not interface.startswith("127.") or target[0].startswith("127.")
            ]
        return targets


def _in_pieces(found: list[bytes]) -> list[list[bytes]]:
    return [found[at : at + _ANSWERS_AT_ONCE] for at in range(0, len(found), _ANSWERS_AT_ONCE)]


class _Hearing(asyncio.DatagramProtocol):
    """Hears searches on one socket; they are answered from another one if this has a broadcast address."""

    def __init__(self, searches: Searches, answer_from: asyncio.DatagramTransport | None) -> None:
        self._searches = searches
        self._answer_from = answer_from

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._answer_from = self._answer_from or transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._answer_from is not None
        self._searches.hear(data, addr, self._answer_from)
