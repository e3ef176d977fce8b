"""The Channel Access server: its lifecycle, its clients, and who of them may do what.

It serves our records and caproto's own channels alike. The messages are handled in `_circuit`; here stands what
the clients share. Whatever a client does or leaves undone is paid by that client: what is kept for it is bounded,
what it breaks is its own connection.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from labioc.devices.core._caproto import AccessRights, ChannelData
from labioc.iocs.core._caproto import Found, StockEvents, find
from labioc.iocs.core._circuit import Circuit
from labioc.iocs.core._outbox import Flusher
from labioc.iocs.core._search import Searches
from labioc.iocs.core._sockets import Acceptor, listen_on, port_of
from labioc.iocs.core._statistics import Statistics

__all__ = ["AccessRights", "AccessRule", "CAServer", "Peer", "Statistics"]

log = logging.getLogger("labioc.ca")

STOP_SECONDS = 2.0
RECEIVE_BYTES = 1 << 16
SILENT_SECONDS = 120.0
"""A connection without channels through which nothing has come for so long is closed.

libca asks for an echo after 30 s of silence, unless it is configured otherwise. A client with channels may be silent
for ever; the system finds out if it is gone.
"""
LOOKS = 4
"""How often in that time it is looked."""
COMPLAINT_SECONDS = 1.0
MAX_COMPLAINED = 1000


class Peer(NamedTuple):
    """A client: its real address, and who it says that it is."""

    address: str
    port: int
    user: str | None
    host: str | None


AccessRule = Callable[[str, Peer], AccessRights]
"""What a client may do with the PV or field of a name; it can take rights only, not give more than the PV has."""


class Serving:
    """A server at work: what its circuits share.

    Attributes:
        access: who may do what, if there is a rule.
        statistics: what is counted.
        flusher: sends what waits for all of them.
        port: the TCP port.
        circuits: the clients.
        receive_buffer: where all of them receive.
        stock_events: the events of caproto's own channels.
        tasks: what ends with the server.
    """

    def __init__(
        self,
        pvdb: Mapping[str, ChannelData],
        interfaces: Sequence[str],
        access: AccessRule | None,
        statistics: Statistics,
    ) -> None:
        self._pvdb = pvdb
        self._interfaces = interfaces
        self.access = access
        self.statistics = statistics
        self.flusher = Flusher()
        self.port = 0
        self.search_port = port_of("EPICS_CAS_SERVER_PORT", "EPICS_CA_SERVER_PORT", default=5064)
        self.circuits: set[Circuit] = set()
        self.receive_buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.stock_events = StockEvents()
        self.searches = Searches(self, interfaces, self.search_port)
        self._acceptors: list[Acceptor] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self._complained: dict[str, float] = {}

    async def open(self) -> None:
        """Bind, listen and answer searches. Raises OSError, and ValueError for a wrong beacon address."""
        self.port, listening = listen_on(self._interfaces, self.search_port)
        try:
            await self.searches.open()
            self.searches.beacon_targets()
        except (OSError, ValueError):
            for sock in listening:
                sock.close()
            self.searches.close()
            raise
        self._acceptors = [Acceptor(sock, lambda: Circuit(self), self.statistics) for sock in listening]
        self.start(self.searches.send_beacons())
        self.start(self._reap())

    async def close(self) -> None:
        """Close every socket and end every task; takes STOP_SECONDS at most."""
        ending: set[asyncio.Task[Any]] = set(self.tasks)
        for acceptor in self._acceptors:
            ending |= acceptor.close()
        self.searches.close()
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=STOP_SECONDS)
        for circuit in list(self.circuits):
            circuit.abort()
        # Transports close their sockets one turn of the loop later.
        await asyncio.sleep(0)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it ends or the server is closed."""
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def find(self, pvname: str) -> Found:
        """The PV or field of this name. Raises KeyError if there is none, or not with these modifiers."""
        return find(self._pvdb, pvname)

    def has(self, pvname: str) -> bool:
        """Whether this server has a PV or field of this name."""
        try:
            self.find(pvname)
        except KeyError:
            return False
        return True

    def limited(self, rights: int, name: str, circuit: Circuit) -> int:
        """What the access rule leaves of a client's rights."""
        assert self.access is not None
        peer = Peer(*circuit.address, circuit.user, circuit.host)
        try:
            return rights & int(self.access(name, peer))
        except Exception:
            log.exception("the access rule fails for %s and %s: no access", name, peer)
            return 0

    def complain(self, address: str, text: str) -> None:
        """Log what a client sends, one line per address and second."""
        now = asyncio.get_running_loop().time()
        if now < self._complained.get(address, 0.0):
            return
        if len(self._complained) >= MAX_COMPLAINED:
            self._complained = {who: until for who, until in self._complained.items() if now < until}
            if len(self._complained) >= MAX_COMPLAINED:
                return
        self._complained[address] = now + COMPLAINT_SECONDS
        log.info("%s", text)

    async def _reap(self) -> None:
        """Close the connections that nobody uses: each takes one of the process's file descriptors."""
        while True:
            await asyncio.sleep(SILENT_SECONDS / LOOKS)
            for circuit in list(self.circuits):
                circuit.silence += 1
                if circuit.is_open and circuit.silence > LOOKS and not circuit.channels:
                    self.statistics.reaped += 1
                    log.info("closed the silent connection of %s", circuit)
                    circuit.abort()


class CAServer:
    """Serves PVs over Channel Access on the given interfaces; on loopback unless told otherwise.

    EPICS_CAS_SERVER_PORT or EPICS_CA_SERVER_PORT is the port of searches, and of connections if it is free.
    """

    def __init__(
        self,
        pvdb: Mapping[str, ChannelData],
        interfaces: Sequence[str] = ("127.0.0.1",),
        access: AccessRule | None = None,
    ) -> None:
        """`pvdb` is looked into at every search, so PVs may be added to it at any time.

        `access` is asked at every get, monitor and put, with the real address of the client. What it leaves of the
        rights is told to the client when it opens the channel.
        """
        self._pvdb = pvdb
        self._interfaces = tuple(interfaces)
        self._access = access
        self._statistics = Statistics()
        self._server: Serving | None = None

    @property
    def port(self) -> int:
        """The TCP port. Raises RuntimeError if the server isn't started."""
        return self._started().port

    @property
    def search_port(self) -> int:
        """The UDP port of searches. Raises RuntimeError if the server isn't started."""
        return self._started().search_port

    @property
    def statistics(self) -> Statistics:
        """What the server has counted until now, restarts included."""
        return replace(self._statistics)

    def _started(self) -> Serving:
        if self._server is None:
            raise RuntimeError("the Channel Access server is not started")
        return self._server

    async def start(self) -> None:
        """Bind, listen and answer searches.

        Raises OSError if a port can't be bound, ValueError if an EPICS_CA... variable isn't a port number and
        RuntimeError if the server is started already.
        """
        if self._server is not None:
            raise RuntimeError("the Channel Access server is started already")
        server = Serving(self._pvdb, self._interfaces, self._access, self._statistics)
        await server.open()
        self._server = server

    async def stop(self) -> None:
        """Close all clients and sockets within a bounded time; a server that isn't started stays as it is."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()
