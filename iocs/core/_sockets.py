"""Ports and sockets of the Channel Access server."""

import asyncio
import errno
import fcntl
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

from labioc.iocs.core._statistics import Statistics

log = logging.getLogger("labioc.ca")

TCP_ATTEMPTS = 5
BACKLOG = 512
ACCEPT_AT_ONCE = 64
ACCEPT_AGAIN_SECONDS = 0.5
SAY_AGAIN_SECONDS = 60.0
_PEER_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # Finds clients that went without a word, within 90 s. The system of a stopped client still answers.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
)
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SIOCGIFADDR, _SIOCGIFBRDADDR = 0x8915, 0x8919


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


def broadcast_address(interface: str) -> str:
    """The broadcast address that belongs to an interface's address; 255.255.255.255 if it isn't known."""
    if interface.startswith("127."):
        return "127.255.255.255"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("40s", name.encode())
            with suppress(OSError):
                if _ask_interface(sock, _SIOCGIFADDR, request) == interface:
                    return _ask_interface(sock, _SIOCGIFBRDADDR, request)
    return "255.255.255.255"


def _ask_interface(sock: socket.socket, question: int, request: bytes) -> str:
    return socket.inet_ntoa(fcntl.ioctl(sock, question, request)[20:24])


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
