"""The control port: lines of text that switch the faults of a running simulator or proxy.

Each line is answered by what was asked for, if anything, and then by ``ok``, or by ``error: `` and the reason.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from typing import Protocol, cast

from .faults import FIN, Fault, Faults

LOOPBACK = "127.0.0.1"
MAX_LINE = 4096


class Controlled(Protocol):
    """What a control port needs to know of a simulator or a proxy."""

    faults: Faults

    def restart(self, off: float = 0.0) -> None:
        """Switch off and on again."""


def execute(controlled: Controlled, line: str) -> list[str]:
    """Execute one line and return what it says; the `HELP` lists the lines.

    Raises ValueError for a line that can't be executed.
    """
    faults = controlled.faults
    word, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    match word:
        case "fault" if rest:
            faults.add(rest)
        case "faults" if not rest:
            return [str(fault) for fault in faults.active]
        case "clear":
            faults.clear(rest or None)
        case "disconnect":
            faults.disconnect(rest or FIN)
        case "power-cycle":
            # as a fault it is checked: whether it can be had, and its seconds
            fault = Fault(word, rest)
            faults.check(fault)
            controlled.restart(fault.setting)
        case "help":
            return list(HELP)
        case _:
            raise ValueError(f"{line.strip()!r} is none of: {'; '.join(HELP)}")
    return []


HELP = ("fault FAULT", "faults", "clear [KIND]", "disconnect [fin|rst]", "power-cycle [SECONDS]", "help")


@contextlib.asynccontextmanager
async def serve_control(controlled: Controlled, where: str) -> AsyncIterator[str]:
    """Open a control port and yield where it is.

    `where` is the path of a socket for this user alone, or the number of a TCP port on loopback (0 takes a
    free one), which every user of the machine can reach. Raises OSError if it can't be had.
    """
    clients: set[_Client] = set()
    try:
        sock = _listen(where)
    except OSError as error:
        raise OSError(error.errno, f"no control port at {where}: {error.strerror or error}") from error
    name = where if sock.family == socket.AF_UNIX else "{}:{}".format(*sock.getsockname())
    server = await asyncio.get_running_loop().create_server(lambda: _Client(controlled, clients), sock=sock)
    try:
        yield name
    finally:
        server.close()
        for client in list(clients):
            client.drop()
        await server.wait_closed()
        if sock.family == socket.AF_UNIX:
            with contextlib.suppress(OSError):
                os.unlink(where)


def _listen(where: str) -> socket.socket:
    if where.isdecimal():
        return socket.create_server((LOOPBACK, int(where)))
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # nobody else may connect, from the first moment on
    try:
        if _is_stale(where):
            os.unlink(where)
        sock.bind(where)
        sock.listen()
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _is_stale(path: str) -> bool:
    """Return whether a process that is gone has left this socket behind."""
    if not os.path.exists(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


class _Client(asyncio.Protocol):
    def __init__(self, controlled: Controlled, clients: set["_Client"]) -> None:
        self._controlled = controlled
        self._clients = clients
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.discard(self)

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._say(line)
        if len(self._buffer) > MAX_LINE:
            self.drop()

    def _say(self, line: bytes) -> None:
        assert self._transport is not None
        try:
            said = [*execute(self._controlled, line.decode("utf-8", "replace")), "ok"]
        except (ValueError, OSError) as error:
            said = [f"error: {error}"]
        self._transport.write("".join(f"{text}\n" for text in said).encode())
