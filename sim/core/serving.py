"""Putting a simulator on a TCP port or behind a pseudo-terminal."""

import asyncio
import contextlib
import os
import socket
import tty
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol, cast
from urllib.parse import urlencode, urlsplit

from .faults import Faults

_PTY_BACKLOG = 1 << 16


class Instrument(Protocol):
    """What a server needs to know of a simulator."""

    faults: Faults
    terminator_out: bytes
    max_clients: int | None
    serial_line: dict[str, int | str]

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        """Take the complete messages out of the buffer."""

    def receive(self, message: bytes) -> bytes | None:
        """Execute a message and return the reply with its terminator, or None for silence."""


class Connection:
    """One client's byte stream: requests in, replies out, in their order, on time or late."""

    def __init__(self, instrument: Instrument, write: Callable[[bytes], None]) -> None:
        """Serve `instrument` to the client that `write` sends to."""
        self._instrument = instrument
        self._write = write
        self._buffer = bytearray()
        self._late: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def feed(self, data: bytes) -> None:
        """Take what the client sent."""
        instrument, faults = self._instrument, self._instrument.faults
        if faults.mute:
            self._buffer.clear()
            return
        self._buffer += data
        prompt: list[bytes] = []
        for message in instrument.split(self._buffer):
            reply = instrument.receive(message)
            if reply is None:
                continue
            reply = faults.spoil(reply, instrument.terminator_out)
            delay = faults.next_delay()
            if delay or self._late:
                ready = self._late[-1][0] if self._late else self._loop.time()
                self._late.append((ready + delay, reply))
            else:
                prompt.append(reply)
        if prompt:
            self._write(b"".join(prompt))
        if self._late and self._timer is None:
            self._timer = self._loop.call_at(self._late[0][0], self._send_late)

    def close(self) -> None:
        """Forget what was to be sent."""
        self._late.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send_late(self) -> None:
        self._timer = None
        _, reply = self._late.popleft()
        if not self._instrument.faults.mute:
            self._write(reply)
        if self._late:
            self._timer = self._loop.call_at(self._late[0][0], self._send_late)


@contextlib.asynccontextmanager
async def serve(instrument: Instrument, url: str) -> AsyncIterator[str]:
    """Serve an instrument at "tcp://host:port" or "pty:" and yield the URL to connect to.

    Port 0 takes a free one. Raises ValueError for another kind of URL, OSError if the
    port can't be had.
    """
    parts = urlsplit(url)
    if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
        served = _serve_tcp(instrument, parts.hostname, parts.port)
    elif url == "pty:":
        served = _serve_pty(instrument)
    else:
        raise ValueError(f"{url!r}: a simulator is served at tcp://<host>:<port> or pty:")
    async with served as address:
        yield address


class _TcpClient(asyncio.Protocol):
    def __init__(self, instrument: Instrument, clients: set["_TcpClient"]) -> None:
        self._instrument = instrument
        self._clients = clients
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        limit = self._instrument.max_clients
        if limit is not None and len(self._clients) >= limit:
            transport.close()
            return
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = Connection(self._instrument, self._transport.write)
        self._clients.add(self)
        self._instrument.faults.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.feed(data)

    def pause_writing(self) -> None:
        # a client that asks and never reads must not fill the memory
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._forget()

    def _forget(self) -> None:
        self._clients.discard(self)
        self._instrument.faults.connections.discard(self)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.asynccontextmanager
async def _serve_tcp(instrument: Instrument, host: str, port: int) -> AsyncIterator[str]:
    clients: set[_TcpClient] = set()
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: _TcpClient(instrument, clients), host, port, reuse_address=True
        )
    except OSError as error:
        what = f"{type(instrument).__name__} can't be served at tcp://{host}:{port}"
        raise OSError(error.errno, f"{what}: {error.strerror}") from error
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        server.close()
        for client in list(clients):
            client.drop()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def _serve_pty(instrument: Instrument) -> AsyncIterator[str]:
    master, slave = os.openpty()
    try:
        # The server's own slave descriptor keeps the terminal alive and raw while no client has it open.
        tty.setraw(slave)
        os.set_blocking(master, False)
        terminal = _Terminal(instrument, master)
        try:
            yield f"serial://{os.ttyname(slave)}?{urlencode(instrument.serial_line)}"
        finally:
            terminal.close()
    finally:
        os.close(master)
        os.close(slave)


class _Terminal:
    def __init__(self, instrument: Instrument, master: int) -> None:
        self._master = master
        self._unsent = bytearray()
        self._connection = Connection(instrument, self._write)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(master, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        self._connection.close()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._connection.feed(os.read(self._master, 1 << 16))

    def _write(self, data: bytes) -> None:
        # Nobody may be reading: what a client left behind is bounded, then replies are lost as on a real line.
        if len(self._unsent) + len(data) <= _PTY_BACKLOG:
            self._unsent += data
            self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: os.write(self._master, self._unsent)]
        if self._unsent:
            self._loop.add_writer(self._master, self._flush)
        else:
            self._loop.remove_writer(self._master)
