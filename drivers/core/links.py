"""Links: a URL becomes an exchanger, the one thing that a port talks through.

``tcp://host:port`` and ``serial:///dev/ttyUSB0?baudrate=57600&bytesize=7&parity=O`` are built in. Another
scheme comes from a package's entry point in the group ``labioc.links``: an `Opener`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from .errors import AddressError, LinkDown
from .exchanger import Exchanger, StreamExchanger
from .framing import Framer

T = TypeVar("T")
ENTRY_POINTS = "labioc.links"


Opener = Callable[[SplitResult, Callable[[], Framer], logging.Logger], Awaitable[Exchanger]]
"""Opens what a URL names; for a byte stream the framer cuts it; the bytes go to the logger at DEBUG level."""


def parse(url: str, serial: Mapping[str, int | str] | None = None) -> SplitResult:
    """Split a URL and check that its scheme is known.

    Args:
        url: where the instrument is.
        serial: settings of a serial line, for what the URL does not say.

    Raises AddressError with what was expected.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise AddressError(f"cannot connect to {url!r}: {error}") from None
    if parts.scheme not in ("tcp", "serial") and parts.scheme not in _plug_ins():
        others = {n for n, entry in _plug_ins().items() if entry.dist is None or entry.dist.name != "labioc"}
        known = ", ".join(sorted({"tcp", "serial"} | others))
        raise AddressError(
            f"cannot connect to {url!r}: expected a URL like tcp://host:port or"
            f" serial:///dev/ttyUSB0?baudrate=9600 (known schemes: {known})"
        )
    if parts.scheme == "tcp":
        try:
            port = parts.port
        except ValueError as error:
            raise AddressError(f"cannot connect to {url!r}: {error}") from error
        odd = parts.path not in ("", "/") or parts.query or parts.fragment or parts.username or " " in url
        if not parts.hostname or not port or odd:
            raise AddressError(f"cannot connect to {url!r}: expected tcp://host:port")
    elif parts.scheme == "serial":
        from . import serial_line

        said = serial_line.settings(parts)
        missing = {key: value for key, value in (serial or {}).items() if key not in said}
        query = "&".join(
            [*filter(None, [parts.query]), *(f"{key}={value}" for key, value in missing.items())]
        )
        parts = parts._replace(query=query)
        serial_line.settings(parts)
    return parts


def check_present(url: str) -> None:
    """Check, before anything is started, that a serial device exists.

    Raises AddressError: a device that was never there is a mistyped path, not an instrument that is off.
    """
    parts = parse(url)
    if parts.scheme == "serial" and not os.path.exists(parts.path):
        raise AddressError(f"cannot connect to {url!r}: there is no device {parts.path}")


async def open_link(parts: SplitResult, framer: Callable[[], Framer], wire: logging.Logger) -> Exchanger:
    """Open the connection that a parsed URL names. The caller bounds the wait.

    Raises LinkDown if it can't be had.
    """
    try:
        if parts.scheme == "tcp":
            return await _open_tcp(parts, framer, wire)
        if parts.scheme == "serial":
            from . import serial_line

            return await serial_line.open_serial(parts, framer, wire)
        opener: Opener = _plug_ins()[parts.scheme].load()
        return await opener(parts, framer, wire)
    except OSError as error:
        # asyncio's own text says only which address; a resolver's errors have numbers of their own, below 0
        why = (
            os.strerror(error.errno)
            if error.errno is not None and error.errno > 0
            else error.strerror or error
        )
        raise LinkDown(f"cannot connect: {why}") from error


async def _open_tcp(parts: SplitResult, framer: Callable[[], Framer], wire: logging.Logger) -> Exchanger:
    assert parts.hostname
    assert parts.port
    loop = asyncio.get_running_loop()
    found = await in_thread(
        functools.partial(socket.getaddrinfo, parts.hostname, parts.port, type=socket.SOCK_STREAM)
    )
    failures: list[OSError] = []
    for *_, address in found:
        try:
            transport, exchanger = await loop.create_connection(
                lambda: StreamExchanger(framer(), wire), host=str(address[0]), port=parts.port
            )
        except OSError as error:
            failures.append(error)
        else:
            _tune(transport)
            return exchanger
    raise failures[0]


def _tune(transport: asyncio.BaseTransport) -> None:
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)


async def in_thread(work: Callable[[], T], late: Callable[[T], None] = lambda result: None) -> T:
    """Run what blocks in a thread that does not keep the process from ending.

    Args:
        work: what blocks.
        late: gets the result if nobody waits for it any more.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def hand_over(result: T | None, error: BaseException | None) -> None:
        if error is not None and not done.done():
            done.set_exception(error)
        elif error is None and not done.done():
            done.set_result(cast(T, result))
        elif error is None:
            late(cast(T, result))

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(hand_over, result, error)

    threading.Thread(target=run, name="labioc link", daemon=True).start()
    return await done


@lru_cache(maxsize=1)
def _plug_ins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
