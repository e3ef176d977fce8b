"""The control socket of a running IOC: where ``labioc trace`` and a simulator's fault switches are found."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from labioc.drivers.core.recording import encode
from labioc.drivers.core.wire import Chunk, Wire
from labioc.sim.core import fault_switches, serve_control
from labioc.sim.core.control import Command, Faulty, Stream

from .host import Host

log = logging.getLogger(__name__)

LONGEST_NAME = 40  # the path of a socket has some 100 bytes


@contextlib.asynccontextmanager
async def control_socket(host: Host, simulator: Faulty | None = None) -> AsyncIterator[None]:
    """Open a socket of this user alone that controls a running IOC: NAME-PID.sock in the first of `folders()`.

    An IOC whose socket can't be opened runs without one, and says so in the log.

    Args:
        host: the IOC.
        simulator: what stands in for its instrument, if it does.
    """
    commands: dict[str, Command] = {
        "instruments": functools.partial(_instruments, host),
        "trace [NAME]": functools.partial(_trace, host),
    }
    if simulator is not None:
        commands |= fault_switches(simulator)
    name = quote("+".join(unit.config.name for unit in host.units), safe="")[:LONGEST_NAME]
    async with contextlib.AsyncExitStack() as stack:
        try:
            sweep()
            path = _own_folder() / f"{name}-{os.getpid()}.sock"
            await stack.enter_async_context(serve_control(commands, str(path)))
        except OSError as error:
            log.warning("labioc trace can't see this IOC: %s", error.strerror or error)
        yield


def folders() -> list[Path]:
    """Return where control sockets may be, whatever environment their process was started in."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [
        *([Path(runtime) / "labioc"] if runtime else []),
        Path(tempfile.gettempdir()) / f"labioc-{os.getuid()}",
    ]


def sockets() -> Iterator[tuple[Path, int]]:
    """Go through the control sockets that there are, and the ids of their processes."""
    for folder in folders():
        if _is_ours(folder):
            for path in sorted(folder.glob("*-*.sock")):
                pid = path.stem.rpartition("-")[2]
                if pid.isdecimal():
                    yield path, int(pid)


def sweep() -> None:
    """Remove the sockets of processes that are gone."""
    for path, pid in sockets():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            # the process of another container has a number that means nothing here, but its socket answers
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                    path.unlink()
        except OSError:
            pass  # it is another user's


def _own_folder() -> Path:
    """Return the first folder that can be had. Raises OSError."""
    for folder in folders():
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_ours(folder) and os.access(folder, os.W_OK):
                return folder
    raise PermissionError(errno.EACCES, f"no folder of this user alone: {', '.join(map(str, folders()))}")


def _is_ours(folder: Path) -> bool:
    """Return whether nobody else can have put anything there."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


# What the socket says


def _instruments(host: Host, _: str) -> list[str]:
    ports = [unit.driver.port for unit in host.units]
    return [f"{port.name}\t{port.state.name}\t{port.url}" for port in ports]


def _trace(host: Host, only: str) -> Stream:
    names = [unit.config.name for unit in host.units]
    if only and only not in names:
        raise ValueError(f"no instrument {only!r}; there are: {', '.join(names)}")
    wires: dict[Wire, list[str]] = {}
    for unit in host.units:
        wires.setdefault(unit.driver.port.wire, []).append(unit.config.name)
    chosen = {wire: "+".join(on_it) for wire, on_it in wires.items() if not only or only in on_it}

    def stream(say: Callable[[str], None]) -> Callable[[], None]:
        listeners = [(wire, functools.partial(_show, say, name)) for wire, name in chosen.items()]
        for wire, listener in listeners:
            wire.listeners.append(listener)

        def end() -> None:
            for wire, listener in listeners:
                wire.listeners.remove(listener)

        return end

    return stream


def _show(say: Callable[[str], None], name: str, chunk: Chunk) -> None:
    say(encode(chunk, name=name))
