"""Ports and sockets of the Channel Access server."""

import asyncio
import errno
import logging
import os
import select
import socket
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Sequence
from enum import Enum

from labioc.iocs.core._statistics import Statistics

log = logging.getLogger("labioc.ca")

TCP_ATTEMPTS = 5
BACKLOG = 512
ACCEPT_AT_ONCE = 64
ACCEPT_AGAIN_SECONDS = 0.5
SAY_AGAIN_SECONDS = 60.0
DEAD_SECONDS = 150.0
"""Longer than the two minutes that the system lets pass at most before it asks a silent peer again."""
UNANSWERED = 3
_PEER_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # Finds clients that went without a word while nothing was sent to them, within 90 s; the others: `is_dead`.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
)
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TCP_INFO = struct.Struct("@2x2B52xI")
"""Of the system's struct tcp_info: timeouts and window probes without an answer, milliseconds since the last one."""


class HangUp(Enum):
    """How far a client has gone."""

    NO = 0
    SENDS_NO_MORE = 1
    BOTH_WAYS = 2


def port_of(*names: str, default: int) -> int:
    """The first of these environment variables that is set. Raises ValueError if it is no port number."""
    for name in names:
        text = os.environ.get(name)
        if text:
            if not (text.isdecimal() and 0 < int(text) < 65536):
                raise ValueError(f"{name} is not a port number: {text!r}")
            return int(text)
    return default


def number_of(*names: str, default: float) -> float:
    """The first of these environment variables that is set. Raises ValueError if it is no number of seconds."""
    for name in names:
        text = os.environ.get(name)
        if text:
            try:
                number = float(text)
            except ValueError:
                number = -1.0
            if not 0 < number < 1e6:
                raise ValueError(f"{name} is not a number of seconds: {text!r}")
            return number
    return default


def _bind(sock: socket.socket, address: str, port: int) -> None:
    try:
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"can't bind {address} port {port}: {error.strerror}") from None


def search_socket(address: str, port: int) -> socket.socket:
    """A UDP socket on a port that all IOCs of the host share. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT, socket.SO_BROADCAST):
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    _bind(sock, address, port)
    return sock


def listen_on(interfaces: Sequence[str], preferred: int) -> tuple[int, list[socket.socket]]:
    """Listen on all interfaces with one port: the preferred one if it is free, else one of the system's choice.

    Listening right after binding is what makes a taken port fail here, and not later in silence.
    Raises OSError.
    """
    for attempt in range(TCP_ATTEMPTS):
        port = 0 if attempt else preferred
        sockets: list[socket.socket] = []
        try:
            for interface in interfaces:
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _bind(sock, interface, port)
                sockets.append(sock)
                sock.listen(BACKLOG)
                port = sock.getsockname()[1]
        except OSError as error:
            for sock in sockets:
                sock.close()
            if error.errno != errno.EADDRINUSE or attempt == TCP_ATTEMPTS - 1:
                raise
        else:
            return port, sockets
    raise AssertionError("unreachable")


def beacon_socket(address: str) -> socket.socket:
    """A UDP socket that sends from an address. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    _bind(sock, address, 0)
    return sock


def is_dead(sock: socket.socket | TransportSocket) -> bool:
    """Whether the other end has answered nothing for DEAD_SECONDS although it was asked again and again.

    The system of a stopped client still answers; one that was switched off, or whose cable was, doesn't. Keep-alive
    finds it only if nothing is on its way to it, and the system's own patience is a quarter of an hour.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    retransmits: int
    probes: int
    silence: int
    retransmits, probes, silence = _TCP_INFO.unpack(info.ljust(_TCP_INFO.size, b"\0"))
    return max(retransmits, probes) >= UNANSWERED and silence > DEAD_SECONDS * 1000


def hang_up(sock: socket.socket | TransportSocket) -> HangUp:
    """Whether a client from which nothing is read at the moment has gone."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    events = dict(poll.poll(0)).get(sock.fileno(), 0)
    if events & (select.POLLHUP | select.POLLERR):
        return HangUp.BOTH_WAYS
    return HangUp.SENDS_NO_MORE if events else HangUp.NO


class Acceptor:
    """Accepts the connections to one listening socket, and survives that the process can have no more of them."""

    def __init__(
        self, sock: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], statistics: Statistics
    ) -> None:
        self._sock = sock
        self._protocol = protocol
        self._statistics = statistics
        self._loop = asyncio.get_running_loop()
        self._said = -SAY_AGAIN_SECONDS
        self._later: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listen()

    def _listen(self) -> None:
        self._later = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> set[asyncio.Task[None]]:
        """Accept no more. Returns the tasks of those that are not quite accepted yet."""
        if self._later is None:
            self._loop.remove_reader(self._sock.fileno())
        else:
            self._later.cancel()
        self._sock.close()
        return set(self._tasks)

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                peer, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    # accept() also tells of errors of the network, which concern the one connection.
                    continue
                self._wait(error)
                return
            task = self._loop.create_task(self._connect(peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _wait(self, error: OSError) -> None:
        self._statistics.refused += 1
        self._loop.remove_reader(self._sock.fileno())
        self._later = self._loop.call_later(ACCEPT_AGAIN_SECONDS, self._listen)
        if self._loop.time() - self._said > SAY_AGAIN_SECONDS:
            log.error("no room for another connection, clients must wait: %s", error.strerror)
        self._said = self._loop.time()

    async def _connect(self, peer: socket.socket) -> None:
        try:
            peer.setblocking(False)
            for option in _PEER_OPTIONS:
                peer.setsockopt(*option)
            await self._loop.connect_accepted_socket(self._protocol, peer)
        except OSError as error:
            peer.close()
            log.debug("a connection was gone at once: %s", error)
