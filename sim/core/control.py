"""The control port: lines of text that switch the faults of a running simulator or proxy, or do what else it offers.

Each line is answered by what was asked for, if anything, and then by ``ok``, or by ``error: `` and the reason. A
stream goes on behind its ``ok``, until the client leaves; a client that is too slow for it loses lines and is told.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol, cast

from .faults import FIN, Fault, Faults

LOOPBACK = "127.0.0.1"
MAX_LINE = 4096

Stream = Callable[[Callable[[str], None]], Callable[[], None]]
"""An answer that goes on: gets what takes its lines, returns what ends it."""
Command = Callable[[str], list[str] | Stream]
"""Does what a line says, given what stands behind its first word; raises ValueError for what it can't do."""
Commands = Mapping[str, Command]
"""Commands by their usage, such as "clear [KIND]"; it begins with the word that stands first in a line."""


class Faulty(Protocol):
    """What a control port needs to know of a simulator or a proxy."""

    faults: Faults

    def restart(self, off: float = 0.0) -> None:
        """Switch off and on again."""


def fault_switches(faulty: Faulty) -> Commands:
    """Return the commands that switch the faults of a simulator or a proxy."""
    faults = faulty.faults

    def add(text: str) -> list[str]:
        faults.add(text)
        return []

    def show(_: str) -> list[str]:
        return [str(fault) for fault in faults.active]

    def clear(kind: str) -> list[str]:
        faults.clear(kind or None)
        return []

    def disconnect(how: str) -> list[str]:
        faults.disconnect(how or FIN)
        return []

    def power_cycle(seconds: str) -> list[str]:
        # as a fault it is checked: whether it can be had, and its seconds
        fault = Fault("power-cycle", seconds)
        faults.check(fault)
        faulty.restart(fault.setting)
        return []

    return {
        "fault FAULT": add,
        "faults": show,
        "clear [KIND]": clear,
        "disconnect [fin|rst]": disconnect,
        "power-cycle [SECONDS]": power_cycle,
    }


def execute(commands: Commands, line: str) -> list[str] | Stream:
    """Execute one line and return what it says; ``help`` lists the lines that there are.

    Raises ValueError for a line that can't be executed.
    """
    word, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    usages = [*commands, "help"]
    for usage in usages:
        name, _, parameter = usage.partition(" ")
        if name == word and bool(rest) in (
            (False, True) if parameter.startswith("[") else (bool(parameter),)
        ):
            return usages if usage == "help" else commands[usage](rest)
    raise ValueError(f"{line.strip()!r} is none of: {'; '.join(usages)}")


@contextlib.asynccontextmanager
async def serve_control(commands: Commands, where: str) -> AsyncIterator[str]:
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
    server = await asyncio.get_running_loop().create_server(lambda: _Client(commands, clients), sock=sock)
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
    def __init__(self, commands: Commands, clients: set["_Client"]) -> None:
        self._commands = commands
        self._clients = clients
        self._end_stream: Callable[[], None] | None = None
        self._is_full = False
        self._lost = 0
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.discard(self)
        if self._end_stream is not None:
            self._end_stream()
            self._end_stream = None

    def pause_writing(self) -> None:
        # a client that does not read costs a buffer's size of memory, and lines of its stream
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._lost:
            lost, self._lost = self._lost, 0
            self._write(f"lost {lost} lines: they came faster than they were read")

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
        if self._end_stream is not None:
            return  # its answers would stand between the lines of the stream
        try:
            answer = execute(self._commands, line.decode("utf-8", "replace"))
        except (ValueError, OSError) as error:
            answer = [f"error: {error}"]
        else:
            if not isinstance(answer, list):
                self._write("ok")
                self._end_stream = answer(self._stream)
                return
            answer = [*answer, "ok"]
        self._write(*answer)

    def _stream(self, line: str) -> None:
        if self._is_full:
            self._lost += 1
        else:
            self._write(line)

    def _write(self, *lines: str) -> None:
        assert self._transport is not None
        self._transport.write("".join(f"{line}\n" for line in lines).encode())
