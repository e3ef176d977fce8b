"""Putting a simulator on a TCP port or behind a pseudo-terminal."""

import asyncio
import contextlib
import os
import socket
import struct
import tty
from collections.abc import AsyncIterator, Callable
from typing import cast
from urllib.parse import urlencode, urlsplit

from .connection import Connection, Instrument
from .faults import FIN, RST

_PTY_BACKLOG = 1 << 16


Connect = Callable[[Instrument, Callable[[bytes], None], Callable[[str], None]], Connection]
"""Makes the connection to a client: the instrument, what sends to the client, what hangs up."""


@contextlib.asynccontextmanager
async def serve(instrument: Instrument, url: str, connect: Connect = Connection) -> AsyncIterator[str]:
    """Serve an instrument at "tcp://host:port" or "pty:" and yield the URL to connect to.

    `connect` makes the connection to each client. Port 0 takes a free one. Raises ValueError
    for another kind of URL, OSError if the port can't be had.
    """
    parts = urlsplit(url)
    if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
        served = _serve_tcp(instrument, parts.hostname, parts.port, connect)
    elif url == "pty:":
        served = _serve_pty(instrument, connect)
    else:
        raise ValueError(f"{url!r}: a simulator is served at tcp://<host>:<port> or pty:")
    async with served as address:
        yield address


class _TcpClient(asyncio.Protocol):
    def __init__(self, instrument: Instrument, clients: set["_TcpClient"], connect: Connect) -> None:
        self._instrument = instrument
        self._clients = clients
        self._connect = connect
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        limit = self._instrument.max_clients
        if limit is not None and len(self._clients) >= limit:
            transport.close()
            return
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = self._connect(self._instrument, self._transport.write, self._end)
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

    def drop(self, how: str = FIN) -> None:
        if self._transport is not None:
            if how == RST:
                self._reset_at_close(self._transport)
            self._transport.abort()
        self._forget()

    def say(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.pass_on(data)
            self._connection.flush()

    def _end(self, how: str) -> None:
        # a graceful close lets out what was sent before; a reset is for drop(), which waits for nothing
        if how == FIN and self._transport is not None:
            self._transport.close()
            self._forget()
        else:
            self.drop(how)

    @staticmethod
    def _reset_at_close(transport: asyncio.Transport) -> None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _forget(self) -> None:
        self._clients.discard(self)
        self._instrument.faults.connections.discard(self)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.asynccontextmanager
async def _serve_tcp(instrument: Instrument, host: str, port: int, connect: Connect) -> AsyncIterator[str]:
    clients: set[_TcpClient] = set()
    listener = _Listener(lambda: _TcpClient(instrument, clients, connect), instrument)
    try:
        port = await listener.open(host, port)
    except OSError as error:
        what = f"{type(instrument).__name__} can't be served at tcp://{host}:{port}"
        raise OSError(error.errno, f"{what}: {error.strerror}") from error
    instrument.faults.watchers.add(listener.update)
    try:
        listener.update()
        yield f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        instrument.faults.watchers.discard(listener.update)
        listener.close()
        for client in list(clients):
            client.drop()
        await listener.wait_closed()


class _Listener:
    """A listening port that a fault closes, so that connections are refused, and opens again."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol], instrument: Instrument) -> None:
        self._protocol = protocol
        self._instrument = instrument
        self._loop = asyncio.get_running_loop()
        self._names: list[tuple[socket.AddressFamily, tuple[str, int]]] = []
        self._opening: dict[asyncio.Task[None], socket.socket] = {}
        self._servers: list[asyncio.Server] = []
        self._is_open = True

    async def open(self, host: str, port: int) -> int:
        """Listen, and return the port."""
        server = await self._loop.create_server(self._protocol, host, port, reuse_address=True)
        self._servers.append(server)
        self._names = [(sock.family, sock.getsockname()) for sock in server.sockets]
        return self._names[0][1][1]

    def update(self) -> None:
        """Listen, or don't, as the faults say."""
        if self._instrument.faults.refusing:
            self.close()
        elif not self._is_open:
            self._is_open = True
            # it listens before this returns: whoever connects from now on is not refused
            for sock in [socket.create_server(name, family=family) for family, name in self._names]:
                task = self._loop.create_task(self._accept(sock))
                self._opening[task] = sock
                task.add_done_callback(self._opening.pop)

    def close(self) -> None:
        self._is_open = False
        for server in self._servers:
            server.close()
        for task, sock in self._opening.items():
            task.cancel()
            sock.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._opening, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    async def _accept(self, sock: socket.socket) -> None:
        # without a pause between the two steps, so that close() always finds what there is
        server = await self._loop.create_server(self._protocol, sock=sock, start_serving=False)
        self._servers.append(server)
        await server.start_serving()


@contextlib.asynccontextmanager
async def _serve_pty(instrument: Instrument, connect: Connect) -> AsyncIterator[str]:
    master, slave = os.openpty()
    try:
        # The server's own slave descriptor keeps the terminal alive and raw while no client has it open.
        tty.setraw(slave)
        os.set_blocking(master, False)
        terminal = _Terminal(instrument, master, connect)
        instrument.faults.connections.add(terminal)
        try:
            yield f"serial://{os.ttyname(slave)}?{urlencode(instrument.serial_line)}"
        finally:
            instrument.faults.connections.discard(terminal)
            terminal.close()
    finally:
        os.close(master)
        os.close(slave)


class _Terminal:
    def __init__(self, instrument: Instrument, master: int, connect: Connect) -> None:
        self._master = master
        self._unsent = bytearray()
        self._connection = connect(instrument, self._write, self.drop)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(master, self._read)

    def drop(self, how: str = FIN) -> None:
        """Lose what was still to be sent: a line has no connection."""
        self._connection.close()

    def say(self, data: bytes) -> None:
        self._connection.pass_on(data)
        self._connection.flush()

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
