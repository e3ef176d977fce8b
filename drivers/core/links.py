"""Links: a URL becomes an exchanger, the one thing that a port talks through.

``tcp://host:port``, ``serial:///dev/ttyUSB0?baudrate=57600&bytesize=7&parity=O``,
``serial:///?vid=0403&serial_number=A1`` and ``rfc2217://host:port?baudrate=57600`` are built in; docs/connections.md
has them all. Another scheme comes from a package's entry point in the group ``labioc.links``: an `Opener`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from .echo import EchoExchanger
from .errors import AddressError, LinkDown
from .exchanger import Exchanger, StreamExchanger
from .framing import Framer
from .line_settings import line_settings, with_defaults
from .wire import Wire

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.BaseProtocol)
BUILT_IN = frozenset(("tcp", "serial", "rfc2217"))
ENTRY_POINTS = "labioc.links"


Opener = Callable[[SplitResult, Callable[[], Framer], Wire], Awaitable[Exchanger]]
"""Opens what a URL names; for a byte stream the framer cuts it; the exchanger shows the wire what it carries."""


def parse(url: str, serial: Mapping[str, int | str] | None = None) -> SplitResult:
    """Split a URL and check that its scheme is known.

    Args:
        url: where the instrument is.
        serial: settings of a serial line, local or behind RFC 2217, for what the URL does not say.

    Raises AddressError with what was expected.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise AddressError(f"cannot connect to {url!r}: {error}") from None
    if parts.scheme not in BUILT_IN:
        if parts.scheme in _plug_ins():
            return parts
        others = {n for n, entry in _plug_ins().items() if entry.dist is None or entry.dist.name != "labioc"}
        known = ", ".join(sorted(BUILT_IN | others))
        raise AddressError(
            f"cannot connect to {url!r}: expected a URL like tcp://host:port or"
            f" serial:///dev/ttyUSB0?baudrate=9600 (known schemes: {known})"
        )
    if parts.scheme != "serial":
        try:
            port = parts.port
        except ValueError as error:
            raise AddressError(f"cannot connect to {url!r}: {error}") from error
        odd = parts.path not in ("", "/") or parts.fragment or parts.username or " " in url
        if not parts.hostname or not port or odd:
            raise AddressError(f"cannot connect to {url!r}: expected {parts.scheme}://host:port")
    return with_defaults(parts, {} if parts.scheme == "tcp" else serial or {})


def framing_of(parts: SplitResult) -> str:
    """Return how messages are framed on a link: what its URL says, or else its scheme."""
    said = line_settings(parts).framing if parts.scheme in BUILT_IN else ""
    return said or parts.scheme


def baudrate_of(parts: SplitResult) -> int:
    """Return the baud rate of a serial line, local or behind RFC 2217; 0 for other links."""
    return line_settings(parts).baudrate if parts.scheme in ("serial", "rfc2217") else 0


def check_present(url: str) -> None:
    """Check, before anything is started, that the path of a serial device exists.

    A USB device named by its identity is waited for: it may be plugged in later, as an instrument may be switched on.

    Raises AddressError: a path that was never there is mistyped, not an instrument that is off.
    """
    parts = parse(url)
    if parts.scheme == "serial" and parts.path.strip("/") and not os.path.exists(parts.path):
        raise AddressError(f"cannot connect to {url!r}: there is no device {parts.path}")


async def open_link(parts: SplitResult, framer: Callable[[], Framer], wire: Wire) -> Exchanger:
    """Open the connection that a parsed URL names. The caller bounds the wait.

    Raises LinkDown if it can't be had.
    """
    try:
        if parts.scheme == "tcp":
            return await _open_tcp(parts, framer, wire)
        if parts.scheme == "serial":
            from . import serial_line

            return await serial_line.open_serial(parts, framer, wire)
        if parts.scheme == "rfc2217":
            from . import rfc2217

            return await rfc2217.open_rfc2217(parts, framer, wire)
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


async def _open_tcp(parts: SplitResult, framer: Callable[[], Framer], wire: Wire) -> Exchanger:
    kind = EchoExchanger if line_settings(parts).echo else StreamExchanger
    return await connect_tcp(parts, lambda: kind(framer(), wire))


async def connect_tcp(parts: SplitResult, protocol: Callable[[], P]) -> P:
    """Connect to the host and port of a URL. Raises OSError."""
    assert parts.hostname
    assert parts.port
    loop = asyncio.get_running_loop()
    found = await in_thread(
        functools.partial(socket.getaddrinfo, parts.hostname, parts.port, type=socket.SOCK_STREAM)
    )
    failures: list[OSError] = []
    for *_, address in found:
        try:
            transport, connected = await loop.create_connection(
                protocol, host=str(address[0]), port=parts.port
            )
        except OSError as error:
            failures.append(error)
        else:
            _tune(transport)
            return connected
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
