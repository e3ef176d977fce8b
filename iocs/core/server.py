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
from labioc.iocs.core._addresses import EVERYWHERE
from labioc.iocs.core._caproto import Found, StockEvents, find
from labioc.iocs.core._circuit import Circuit
from labioc.iocs.core._complaints import Complaints
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
        puts: how many puts of all clients run.
        receive_buffer: where all of them receive.
        stock_events: the events of caproto's own channels.
        complaints: what is logged of clients.
        tasks: what ends with the server.
        is_stopping: whether it takes no more clients.
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
        self.puts = 0
        self.receive_buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.stock_events = StockEvents()
        self.searches = Searches(self, interfaces, self.search_port)
        self._acceptors: list[Acceptor] = []
        self.complaints = Complaints()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_stopping = False

    async def open(self) -> None:
        """Bind, listen and answer searches. Raises OSError, and ValueError for a wrong beacon address."""
        self.port, listening = listen_on(self._interfaces, self.search_port)
        try:
            await self.searches.open()
        except BaseException:
            # Also a start that is cancelled leaves nothing open.
            for sock in listening:
                sock.close()
            self.searches.close()
            raise
        self._acceptors = [Acceptor(sock, lambda: Circuit(self), self.statistics) for sock in listening]
        self.start(self.searches.send_beacons())
        self.start(self._reap())

    async def close(self) -> None:
        """Close every socket and end every task; takes STOP_SECONDS at most."""
        self.is_stopping = True
        ending: set[asyncio.Task[Any]] = set(self.tasks)
        for acceptor in self._acceptors:
            ending |= acceptor.close()
        self.searches.close()
        # Before anything is awaited: what a client sends now must not begin.
        for circuit in list(self.circuits):
            circuit.abort()
        for task in ending:
            task.cancel()
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        while ending := {task for task in ending | self.tasks if not task.done()}:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                log.warning("stopped although %d puts or others go on", len(ending))
                break
            await asyncio.wait(ending, timeout=left)
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

    async def _reap(self) -> None:
        """Close the connections that nobody uses: each takes one of the process's file descriptors."""
        while True:
            await asyncio.sleep(SILENT_SECONDS / LOOKS)
            for circuit in list(self.circuits):
                why = circuit.why_to_end(LOOKS)
                if why:
                    self.statistics.reaped += 1
                    log.info("closed the connection of %s: %s", circuit, why)
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

        `access` is asked at every get, put and new monitor, with the real address of the client. What it leaves of
        the rights is told to the client when it opens the channel; when the answers change later, call
        `rights_changed`.
        """
        self._pvdb = pvdb
        # 0.0.0.0 has all the others within it; with them, clients would be answered twice.
        self._interfaces = (EVERYWHERE,) if EVERYWHERE in interfaces else tuple(dict.fromkeys(interfaces))
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

        Raises OSError if a port can't be bound or a host in an EPICS_CAS_... variable isn't known, ValueError if an
        EPICS_CA... variable isn't a port number and RuntimeError if the server is started already.
        """
        if self._server is not None:
            raise RuntimeError("the Channel Access server is started already")
        server = Serving(self._pvdb, self._interfaces, self._access, self._statistics)
        await server.open()
        self._server = server

    def rights_changed(self) -> None:
        """Ask the access rule anew for all channels that are open, and tell the clients whose rights have changed.

        Monitors stop where a client may no longer read, and go on with the present value where it may again.
        """
        if self._server is not None:
            for circuit in list(self._server.circuits):
                circuit.follow_rights()

    async def stop(self) -> None:
        """Close all clients and sockets within a bounded time; a server that isn't started stays as it is."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()
